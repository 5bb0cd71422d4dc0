"""What a fusion says of itself: a row for each frame, and measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciSR.fusion.placing import Placed
from sciSR.fusion.prepared import Solution, Target
from sciSR.fusion.preparing import Preparation
from sciSR.fusion.product import FrameRecord
from sciSR.sequence import FrameSequence


def frame_records(sequence: FrameSequence, prep: Preparation, placed: Placed) -> tuple[FrameRecord, ...]:
    """A row for each frame of the sequence, used or not, in its order."""
    entries = {entry.index: entry for entry in prep.store.entries}
    reasons = {**dict(placed.registration.left_out), **dict(prep.left_out)}
    noise = {k: sky_sigma(prep, e) for k, e in entries.items()}
    best = max((1 / s**2 for s in noise.values() if s > 0), default=1.0)
    out = []
    for k, frame in enumerate(sequence):
        common = {
            "name": frame.name,
            "exposure": frame.exposure if frame.exposure else float("nan"),
            "start": frame.start or "",
            "quality": placed.quality(k),
        }
        entry = entries.get(k)
        if entry is None:
            out.append(FrameRecord(used=False, reason=reasons.get(k, "not used"), **common))
            continue
        seen, sigma = entry.registered, noise[k]
        out.append(
            FrameRecord(
                used=True,
                reference=seen.how == "reference",
                model=seen.model,
                how=seen.how,
                matrix=tuple(float(v) for v in seen.matrix.matrix.ravel()),
                error_px=seen.error_px,
                rms_px=seen.rms_px,
                n_stars=seen.n_stars,
                fwhm_px=seen.fwhm_px,
                background=float(entry.match.background.level),
                gain=float(entry.match.gain),
                noise=sigma * float(entry.match.gain),
                weight=float(1 / sigma**2 / best) if sigma > 0 else 0.0,
                rejected=entry.rejected,
                bad=entry.known_bad,
                **common,
            )
        )
    return tuple(out)


def measurements(prep: Preparation, solution: Solution) -> dict[str, Any]:
    """Registration errors, rejected pixels, and what the solver tells; JSON-ready."""
    used = [e.registered for e in prep.store.entries if e.registered.how != "reference"]
    errors = [r.error_px for r in used if np.isfinite(r.error_px)]
    out: dict[str, Any] = {
        "frames_used": len(prep.store),
        "registration_error_px_median": float(np.median(errors)) if errors else None,
        "registration_error_px_max": float(np.max(errors)) if errors else None,
        "rejected_pixels": int(sum(e.rejected for e in prep.store.entries)),
        "solver": {k: v for k, v in solution.extras.items() if isinstance(v, str | int | float | bool)},
    }
    return out


def sky_sigma(prep: Preparation, entry: Any) -> float:
    """Typical noise of a frame's pixel, in the reference's level."""
    variance = prep.store.get(entry, "variance")
    good = ~prep.store.get(entry, "bad")
    if not good.any():
        return float("nan")
    middle = float(np.median(variance[good][:: max(1, int(good.sum()) // 100_000)]))
    return float(np.sqrt(middle)) / abs(float(entry.match.gain))


def at_fine(native: np.ndarray, target: Target) -> np.ndarray:
    """A smooth native map on the fine grid, edge to edge; float32."""
    if np.ptp(native) == 0:
        return np.full(target.shape, native.flat[0], dtype=np.float32)
    import torch

    plane = torch.from_numpy(np.ascontiguousarray(native, dtype=np.float32))[None, None]
    fine = torch.nn.functional.interpolate(plane, size=target.shape, mode="bilinear", align_corners=False)
    return fine[0, 0].numpy()
