"""The sections of a page, each from what is known of a pair: texts, tables, pictures and curves."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRError
from sciSR.report.page_facts import Facts
from sciSR.report.page_images import coloured, preview
from sciSR.report.page_scene import Scene, Sources
from sciSR.report.page_support import seek
from sciSR.report.page_words import number

log = logging.getLogger(__name__)

_MOST_KEYS = 600
"""Rows of metadata: those that changed come first."""


def examine(facts: Facts, options: Mapping[str, Any] | None = None) -> None:
    """Verify the pair and look for features that the data do not support; what can't be done is noted."""
    if facts.before is None or facts.input is None:
        return
    from sciSR.verify.checking import verify_files

    try:
        facts.verification = verify_files(facts.input, facts.output, **dict(options or {}))
    except SciSRError as error:
        facts.notes.append(f"The checks could not be made: {error.what}")
    except Exception as error:  # a page says what it can; scisr verify shows the rest
        log.debug("unexpected", exc_info=True)
        facts.notes.append(f"The checks could not be made: unexpected {type(error).__name__}")
    seek(facts)


def lead(facts: Facts) -> str:
    """One line under the title."""
    shape = " × ".join(map(str, facts.after.shape))
    if facts.before is not None:
        shape = f"{' × '.join(map(str, facts.before.shape))} → {shape}"
    words = [
        f"From {facts.input_name}" if facts.input_name else "",
        f"{shape} ({', '.join(facts.after.axes)})",
    ]
    model = facts.step.get("model")
    scale = facts.step.get("scale")
    words += [f"×{scale}" if scale and not isinstance(scale, Mapping) else "", str(model) if model else ""]
    words += [facts.after.unit or "", facts.step.get("software") or _maker(facts)]
    return " · ".join(str(word) for word in words if word)


def _maker(facts: Facts) -> str:
    made_by = "" if facts.verification is None else facts.verification.made_by
    return made_by or "maker unknown"


def compare_text(facts: Facts, sources: Sources, scene: Scene) -> str:
    """What stands left and right."""
    which = "".join(
        f" Of {facts.after.shape[axis]} along {facts.after.axes[axis]}, number {at} is shown (from 0)."
        for axis, at in sources.after.layout.fixed
        if facts.after.shape[axis] > 1
    )
    if sources.before is None:
        return f"The input was not found, so the result stands alone.{which}"
    shared = ""
    if sources.share != 1:
        shared = f" Pixels hold totals: the input's are shown divided by {number(1 / sources.share)}, the share of each"
        shared += " finer pixel."
    return (
        "Left the input, its pixels enlarged as they are; right the result, over the same field, edge to edge, in the "
        f"same stretch.{shared}{which}"
    )


def uncertainty_text(facts: Facts) -> str:
    """How large the standard deviation is and what it is worth."""
    told = facts.step.get("uncertainty")
    if facts.std is None and not told:
        return ""
    if not told:
        return "A standard deviation stands in the output; its record does not say how it was found."
    wide = told.get("interval_95")
    words = ["One standard deviation of each output pixel: the input's noise carried through the method"]
    words.append(f", and the network's own error ({told['model']})." if told.get("model") else ".")
    if told.get("calibrated"):
        words.append(" Calibrated by split conformal prediction on files kept apart: ±1 covers 68 %")
        words.append(f", ±{number(wide)} covers 95 %." if wide else ".")
    else:
        words.append(" Not calibrated for this kind of image.")
        words.append(
            ""
            if told.get("model")
            else " How far the method itself errs is not in it: read it as a lower bound."
        )
    if facts.std is None:
        words.append(" The map itself is not at hand.")
    return "".join(words)


def agreement_text(facts: Facts) -> str:
    """What the record says, in words."""
    told = facts.step.get("agreement")
    if not told:
        return "The output has no record of it. What is shown below was measured for this page."
    unit = f" {facts.after.unit}" if facts.after.unit else ""
    how = "The result was made to reproduce" if told.get("enforced") else "Nothing made the result reproduce"
    rms = f", root mean square {number(told['rms'])}{unit}" if told.get("rms") is not None else ""
    return (
        f"{how} the measurement under the forward model ({told.get('operator', 'unknown')}). Largest difference "
        f"{number(told.get('max_abs'))}{unit}, {number(told.get('max_relative_to_range'))} of the input's range{rms}."
    )


def familiarity_rows(facts: Facts) -> list[tuple[str, str, str]]:
    """What was measured on the input, beside the range of the training images where the record has it."""
    told = facts.step.get("familiarity") or {}
    ranges = told.get("ranges") or (_ranges(facts) if told else {})
    rows = []
    for name, value in (told.get("measured") or {}).items():
        reach = ranges.get(name)
        rows.append(
            (
                name.replace("_", " "),
                number(value),
                "–" if not reach else f"{number(reach[0])} to {number(reach[1])}",
            )
        )
    return rows


def _ranges(facts: Facts) -> Mapping[str, Any]:
    """Of what the output's network was trained on."""
    from sciSR.models.files import load_spec
    from sciSR.trust.ranges import known_of

    try:
        known = known_of(load_spec(str(facts.step.get("model", ""))))
    except (SciSRError, OSError):
        return {}
    return {} if known is None else known.ranges


def checks_of(facts: Facts) -> dict[str, Any] | None:
    """The verification's rows, failures first."""
    found = facts.verification
    if found is None:
        return None
    order = {"failed": 0, "warning": 1, "passed": 2, "skipped": 3}
    counts = {name: sum(c.status == name for c in found.checks) for name in order}
    words = [f"{n} {name if name != 'warning' else 'with a warning'}" for name, n in counts.items() if n]
    rows = [
        {
            **{k: getattr(c, k) for k in ("status", "name", "group", "message", "part")},
            "value": "" if c.value is None else f"{number(c.value)} {c.unit}".strip(),
            "limit": "" if c.limit is None else number(c.limit),
        }
        for c in sorted(found.checks, key=lambda c: order[c.status])
    ]
    made = f" The output says that {found.made_by} made it." if found.made_by else ""
    return {
        "text": f"{', '.join(words)}.{made}",
        "rows": rows,
    }


def troubles(facts: Facts) -> list[str]:
    """What failed, for the top of the page: the first few checks and keys."""
    found = facts.verification
    if found is None:
        return []
    failed = [f"{c.group}, {c.name}: {c.message}" for c in found.checks if c.status == "failed"]
    failed += [f"{k.key} {k.fate}{': ' + k.rule if k.rule else ''}" for k in found.keys if not k.allowed]
    more = [f"and {len(failed) - 6} more, see below"] if len(failed) > 6 else []
    return [*failed[:6], *more]


def checks_missing(facts: Facts) -> str:
    """Why there are no checks."""
    if facts.before is None:
        return "The checks compare the output with its input, which was not found."
    return "The checks could not be made; see the notes at the end."


def keys_of(facts: Facts) -> dict[str, Any] | None:
    """What became of each metadata key: what broke a rule, changed, came and went; then what was kept."""
    if facts.verification is None or not facts.verification.keys:
        return None
    keys = facts.verification.keys
    order = {"lost": 1, "changed": 2, "added": 3, "kept": 4}
    rows = sorted(keys, key=lambda k: order[k.fate] if k.allowed else 0)
    counts = {fate: sum(k.fate == fate for k in keys) for fate in ("kept", "changed", "added", "lost")}
    broken = sum(not k.allowed for k in keys)
    text = ", ".join(f"{n} {fate}" for fate, n in counts.items() if n)
    text += f"; {broken} not as the rules allow." if broken else "; each change follows a rule."
    return {
        "text": f"Keys of the header: {text}",
        "rows": rows[:_MOST_KEYS],
        "total": len(keys),
        "broken": broken,
        "fates": [fate for fate, n in counts.items() if n],
    }


def made_rows(facts: Facts) -> list[tuple[str, str]]:
    """Names, versions and hashes."""
    step = facts.step
    read = next((s for s in facts.steps if s.get("input_sha256")), {})
    rows = [
        ("Output", facts.output_name),
        ("Input", facts.input_name or "not found"),
        ("Input SHA-256", read.get("input_sha256", "")),
        ("Software", step.get("software", "")),
        ("Method", step.get("model", "")),
        ("Weights SHA-256", step.get("weights_sha256", "")),
        ("Forward model", step.get("forward_model", "")),
        ("Consistency", step.get("consistency", "")),
        ("Quantity", facts.after.quantity),
        ("Bad pixels", step.get("bad_pixels", "")),
        ("Images in the file", ", ".join(facts.parts) if len(facts.parts) > 1 else ""),
        ("This page shows", facts.after.part if len(facts.parts) > 1 else ""),
    ]
    return [(name, str(value)) for name, value in rows if value not in ("", None)]


def card_of(facts: Facts) -> tuple[dict[str, Any] | None, str]:
    """The network's card; or what there is to say of a method without one."""
    name = str(facts.step.get("model", ""))
    if not name:
        return None, "The output does not say which method made it."
    if not facts.step.get("weights_sha256"):
        return None, f"{name} is a classical method: it has learned nothing and needs no card."
    from sciSR.models.files import load_card

    card: Mapping[str, Any] = {}
    with contextlib.suppress(SciSRError):
        card = load_card(name)
    if not card:
        return None, f"No card of {name} is at hand."
    own = card.get("sha256") == facts.step["weights_sha256"]
    forward = card.get("forward_model") or {}
    keep = card.get("consistency") or {}
    rows = [
        ("Name", name),
        ("Architecture", card.get("architecture", "")),
        ("Parameters", card.get("parameters", "")),
        ("Licence", card.get("licence", "")),
        ("Undoes", forward.get("description", "") if isinstance(forward, Mapping) else forward),
        ("Keeps", keep.get("what", "") if isinstance(keep, Mapping) else keep),
        ("Date", card.get("date", "")),
        ("Weights", "those of this card" if own else "other ones than this card's"),
    ]
    from sciSR.report.page_card import measured_tables

    return {
        "summary": card.get("summary", ""),
        "fields": [(k, str(v)) for k, v in rows if v],
        "limits": [str(v) for v in card.get("limits") or []],
        "tables": measured_tables(card),
        "files": [
            {k: str(f.get(k, "")) for k in ("file", "role", "licence", "origin")}
            for f in (card.get("data") or {}).get("files") or []
            if isinstance(f, Mapping)
        ],
    }, ""


def pictures_of(facts: Facts, sources: Sources, scene: Scene) -> dict[str, Any]:
    """Previews, maps, the residual and the curves."""
    from sciSR.report.page_curves import curves_of

    shown, pixel = scene.layers["after"]["shown"], scene.planes[0]["pixel"]
    ratio = pixel[1] / pixel[0]
    previews = [
        (name, scene.layers[name]["label"], preview(scene.pictures[name], shown, ratio=ratio))
        for name in ("before", "after")
        if name in scene.pictures
    ]
    maps = [_map(scene, name, ratio, text) for name, text in _MAPS if name in scene.pictures]
    residual = None
    if "residual" in scene.pictures:
        residual = _map(scene, "residual", ratio, "Forward model of the result less the input.")
        residual |= _spread(scene.pictures["residual"], sources.unit)
    curves = curves_of(facts, sources, scene)
    return {"previews": previews, "maps": maps, "residual": residual, "curves": curves}


_MAPS = (
    ("std", "Standard deviation of each output pixel (1σ), for the part shown first."),
    ("error", "Result less truth, for the part shown first."),
)


def _map(scene: Scene, name: str, ratio: float, caption: str) -> dict[str, Any]:
    layer = scene.layers[name]
    low, high, kind = layer["shown"]["black"], layer["shown"]["white"], layer["map"]
    unit = f" {layer['unit']}" if layer["unit"] else ""
    return {
        "picture": coloured(scene.pictures[name], low, high, kind, ratio=ratio),
        "kind": kind,
        "low": number(low),
        "high": f"{number(high)}{unit}",
        "caption": caption,
        "alt": f"Map of the {layer['label'].lower()} from {number(low)} to {number(high)}{unit}",
    }


def _spread(values: NDArray, unit: str) -> dict[str, Any]:
    """Histogram and numbers of a residual."""
    from markupsafe import Markup

    from sciSR.report.page_plots import residual_histogram

    good = np.asarray(values, float)[np.isfinite(values)]
    rms = float(np.sqrt(np.square(good).mean())) if good.size else None
    most = float(np.abs(good).max()) if good.size else None
    unit = f" {unit}" if unit else ""
    return {
        "plot": Markup(residual_histogram(values, unit.strip())),
        "numbers": f"Measured for this page: largest {number(most)}{unit}, root mean square {number(rms)}{unit}.",
    }
