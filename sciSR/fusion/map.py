"""The default solver: the most probable sharp scene, given all frames, their noise, and what scenes are like.

The likelihood is exact for any transform, mask and weight (:mod:`sciSR.fusion.forward`). Frames are gone through once:
what they say is gathered as normal equations (:mod:`sciSR.fusion.normal`), which are then solved by conjugate gradients
preconditioned with the closed form for stationary data (:mod:`sciSR.fusion.least_squares`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.coverage import covered
from sciSR.fusion.forward import MARGIN, Canvas, Footprint, Predictor, footprint, window_of
from sciSR.fusion.least_squares import Likelihood
from sciSR.fusion.memory import return_freed_arrays
from sciSR.fusion.normal import BAND, Accumulator
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames, Solution, Target
from sciSR.fusion.priors import PRIORS, Prior, PriorSettings, Scene
from sciSR.fusion.transforms import linear_scale

if TYPE_CHECKING:
    from sciSR.fusion.deconvolution import Blur

TILE = 840
"""Larger targets go by tiles of about the square of this many fine pixels: some 300 bytes a pixel."""
CONTRAST = 1.5
"""Most by which a pixel's variance is taken to exceed a typical one's in its weight."""
HALO = 40
"""Fine pixels by which tiles overlap. Each tile still learns its own optics: results differ by 0.3 sigma rms."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """What the frames say about one canvas.

    Attributes
    ----------
    likelihood : Likelihood
    noise : sequence of Tensor
        One draw of the noise of ``S^T W y`` for each part of the likelihood: a realisation to learn errors from.
    coverage : Tensor, (rows, columns)
    frames : int
        That touch the canvas.
    """

    likelihood: Likelihood
    noise: Sequence[Tensor]
    coverage: Tensor
    frames: int


def solve(
    frames: PreparedFrames,
    target: Target,
    *,
    device: str = "cpu",
    prior: str = "auto",
    strength: float | None = None,
    positive: bool = False,
    fwhm: float | None = None,
    iterations: int = 60,
    tolerance: float = 2e-4,
    errors: bool = True,
    context: bool = False,
    tile: int = TILE,
    seed: int = 0,
    memory: dict[str, Prior] | None = None,
    blur: Blur | None = None,
) -> Solution:
    """Fuse by maximum a posteriori.

    Parameters
    ----------
    frames : PreparedFrames
        Gone through once for each tile.
    target : Target
    device : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
    prior : {"auto", "tikhonov", "huber", "tv", "none"}
        ``"auto"``: each scale is kept where it stands above its noise (:mod:`sciSR.fusion.shrink`). ``"tikhonov"``: the
        stationary prior of the scene's own power spectrum. ``"huber"``: Huber-weighted Laplacian. ``"tv"``: total
        variation. ``"none"``: only what keeps the equations solvable.
    strength : float, optional
        Multiplies the prior's own strength.
    positive : bool
        No light below the background. Biases empty sky upwards where noise is cut off: for deconvolution.
    fwhm : float, optional
        Of the stars, native pixels, with the pixel's own width: nothing in the scene is sharper. By default the data
        tell; give it where frames differ by more than their transforms (seeing, guiding, colour), which looks like
        fine detail.
    iterations, tolerance
        Of conjugate gradients: see :func:`sciSR.fusion.least_squares.solve`.
    errors : bool
        False leaves the standard deviation out (NaN): half the time, for intermediate results.
    context : bool
        Also return which frames contribute where.
    tile : int
        Side in fine pixels of the square whose area a tile has at most.
    seed : int
        Of the noise realisation that the standard deviation comes from.
    memory : dict, optional
        Kept between calls for nearly the same frames: each then begins where the last one ended.
    blur : Blur, optional
        Solve for the scene before this blur instead of as the optics deliver it (:mod:`sciSR.fusion.deconvolution`).

    Returns
    -------
    Solution

    Raises
    ------
    UsageError
        Unknown prior, no frames, or none that overlaps the target.
    """
    if prior not in PRIORS:
        raise UsageError(f"no prior is called {prior!r}", remedy=f"use one of {', '.join(PRIORS)}")
    if not len(frames):
        raise UsageError("there is no frame to fuse")
    where = resolve(device)
    settings = PriorSettings(strength or 1.0, positive, iterations, tolerance, errors, seed)
    model = None if memory is None else memory.get(prior)
    if model is None:
        model = PRIORS[prior](settings, fwhm)
    model.settings = settings
    model.expect(fwhm)
    if memory is not None:
        memory[prior] = model
    out = _Output.empty(target, len(frames) if context else 0)
    used = 0
    for rows, columns in _tiles(target, tile):
        scene = _solve_tile(frames, target, rows, columns, where, model, out, context, blur)
        used = max(used, scene)
    if not used:
        raise UsageError("no frame overlaps the reference's field")
    return Solution(
        out.image,
        out.std,
        out.weight,
        out.coverage,
        out.context,
        notes=tuple(model.notes),
        extras=model.extras,
    )


def resolve(device: str) -> torch.device:
    """A torch device from its name; ``auto`` takes a CUDA card if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


@dataclass(eq=False)
class _Output:
    image: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    coverage: np.ndarray
    context: np.ndarray | None = field(default=None)

    @classmethod
    def empty(cls, target: Target, frames: int) -> _Output:
        image, std, weight, coverage = (np.zeros(target.shape, dtype=np.float32) for _ in range(4))
        context = np.zeros((-(-frames // 32), *target.shape), dtype=np.int32) if frames else None
        return cls(image, std, weight, coverage, context)


def _tiles(target: Target, size: int) -> Iterator[tuple[slice, slice]]:
    """Equal tiles of at most ``size**2`` pixels, cut so that their overlaps cost least."""
    rows, columns = target.shape
    least = -(-rows * columns // size**2)
    margin = 2 * (MARGIN + HALO)
    best = min(
        ((n, -(-least // n)) for n in range(1, least + 1)),
        key=lambda cut: (rows + cut[0] * margin) * (columns + cut[1] * margin),
    )
    spans = []
    for length, n in zip((rows, columns), best, strict=True):
        edges = [length * k // n for k in range(n + 1)]
        spans.append([slice(a, b) for a, b in pairwise(edges)])
    for part in spans[0]:
        for other in spans[1]:
            yield part, other


def _solve_tile(
    frames: PreparedFrames,
    target: Target,
    rows: slice,
    columns: slice,
    device: torch.device,
    model: Prior,
    out: _Output,
    context: bool,
    blur: Blur | None = None,
) -> int:
    """Fill the output over one tile; the number of frames that touch it."""
    margin = MARGIN + (HALO if (rows, columns) != _whole(target) else 0)
    if blur is not None:
        margin = max(margin, blur.reach)
    canvas = Canvas.around(target, rows, columns, margin=margin, device=device, blur=blur)
    gathered = gather(
        frames,
        canvas,
        seed=model.settings.seed,
        errors=model.settings.errors,
        context=out.context if context else None,
        at=(rows, columns),
    )
    core = canvas.inside(rows, columns)
    here = (rows, columns)
    if not gathered.frames or gathered.likelihood.typical <= 0:
        out.image[here] = out.std[here] = np.nan
        return 0
    scene = model.solve(gathered.likelihood, gathered.noise)
    if model.settings.positive:
        scene = Scene(scene.image.clamp_min(0), scene.std)
    _store(out, here, core, scene, gathered)
    return gathered.frames


def _whole(target: Target) -> tuple[slice, slice]:
    return slice(0, target.shape[0]), slice(0, target.shape[1])


def _store(
    out: _Output, here: tuple[slice, slice], core: tuple[slice, slice], scene: Scene, gathered: Gathered
) -> None:
    image, std = scene.image[core], scene.std[core] if scene.std is not None else None
    coverage = gathered.coverage[core]
    weight = gathered.likelihood.weight[core].clamp_min(0)
    # A pixel that no good pixel of any frame falls on may still be known from those around it; one without even
    # that is not.
    known = weight > 1e-3 * gathered.likelihood.typical
    nothing = torch.full((), float("nan"), device=image.device)
    out.image[here] = torch.where(known, image, nothing).cpu().numpy()
    out.std[here] = (
        (torch.where(known, std, nothing) if std is not None else nothing.expand(image.shape)).cpu().numpy()
    )
    out.weight[here] = weight.cpu().numpy()
    out.coverage[here] = coverage.cpu().numpy()


def gather(
    frames: PreparedFrames,
    canvas: Canvas,
    *,
    seed: int = 0,
    errors: bool = True,
    context: np.ndarray | None = None,
    at: tuple[slice, slice] | None = None,
) -> Gathered:
    """One pass over the frames: their normal equations on a canvas, and one draw of the noise in them.

    Frames whose pixels differ in size by more than 2 % get equations of their own, with their own pixel response.

    Parameters
    ----------
    frames : PreparedFrames
    canvas : Canvas
    seed : int
    errors : bool
        False leaves the draw of the noise and the coverage at zero.
    context : ndarray of int32 (planes, rows, columns), optional
        Of the whole target; bits are set over `at`, the target slices of the canvas's core.
    at : (slice, slice), optional

    Returns
    -------
    Gathered
    """
    parts: dict[float, tuple[Predictor, Accumulator, Tensor]] = {}
    coverage = torch.zeros(canvas.shape, device=canvas.device)
    touched: set[int] = set()
    for top in range(0, canvas.shape[0], BAND):
        band = (top, min(top + BAND, canvas.shape[0]))
        begun: set[float] = set()
        for k, frame in enumerate(frames):
            if top == 0 and errors:
                seen = covered(canvas, frame.transform, frame.bad)
                coverage += seen
                if context is not None and at is not None:
                    _mark(context[k // 32][at], seen[canvas.inside(*at)], k % 32)
            where = footprint(canvas, frame.transform, frame.values.shape, band)
            if where is None:
                continue
            pixel = round(1 / linear_scale(frame.transform, frame.values.shape) / 0.02) * 0.02
            if pixel not in parts:
                draw = torch.zeros(canvas.shape, device=canvas.device)
                parts[pixel] = (Predictor(canvas, pixel), Accumulator(canvas), draw)
            predictor, accumulator, draw = parts[pixel]
            if pixel not in begun:
                accumulator.begin(*band)
                begun.add(pixel)
            weights, sigma = _weights(frame, where)
            if not bool((weights > 0).any()):
                continue
            accumulator.add(where, window_of(frame.values, where), weights)
            touched.add(k)
            if errors:
                epsilon = torch.randn(weights.shape, generator=_generator(seed, k, canvas.start, top))
                predictor.scatter(sigma * epsilon.to(weights.device), where, draw)
        for pixel in begun:
            parts[pixel][1].finish()
    return_freed_arrays()
    finished = [(p.response, a.equations()) for p, a, _ in parts.values()]
    noise = [draw for _, _, draw in parts.values()]
    return Gathered(Likelihood.of(canvas, finished), noise, coverage, len(touched))


def _generator(seed: int, frame: int, start: tuple[int, int], top: int) -> torch.Generator:
    """The same numbers for the same frame, tile and band in every run."""
    words = np.random.SeedSequence([seed, frame, start[0] + 2**20, start[1] + 2**20, top]).generate_state(1)
    return torch.Generator().manual_seed(int(words[0]))


def _mark(plane: np.ndarray, seen: Tensor, bit: int) -> None:
    """Set one bit of a context plane where a frame contributes."""
    value = np.array(1 << bit, dtype=np.uint32).astype(np.int32)
    plane |= np.where(seen.cpu().numpy() > 0, value, np.int32(0))


def _weights(frame: PreparedFrame, where: Footprint) -> tuple[Tensor, Tensor]:
    """Weights, 0 where bad, and the standard deviation of a weighted pixel's noise.

    A weight is 1/variance, but without most of what stars' own photons add. These would spread weights over three
    orders of magnitude from one pixel to the next: a stiff system, in which the prior pulls at the peaks of stars
    (by 3 % for the brightest), for a little less noise where there is hardly any. Errors are of the true noise.
    """
    variance = window_of(frame.variance, where)
    bad = window_of(frame.bad, where)
    good = ~bad & torch.isfinite(variance) & (variance > 0)
    if not bool(good.any()):
        return torch.zeros_like(variance), torch.zeros_like(variance)
    most = CONTRAST * variance[good][:: max(1, int(good.sum()) // 100_000)].median()
    nothing = torch.zeros_like(variance)
    weights = torch.where(good, 1 / variance.clamp_max(float(most)), nothing)
    return weights, torch.where(good, weights * variance.sqrt(), nothing)


def predict_frame(
    image: np.ndarray, target: Target, frame: PreparedFrame, *, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """What a fused image predicts for one frame.

    Parameters
    ----------
    image : ndarray, ``target.shape``
        NaN where nothing is known.
    target : Target
    frame : PreparedFrame
        Only its transform and shape are looked at.

    Returns
    -------
    predicted : ndarray, the frame's shape, float32
    unknown : ndarray of bool
        True where nothing is predicted.
    """
    return FramePredictor(image, target, device=device)(frame)


class FramePredictor:
    """Predicts frames from one fused image: its spline coefficients are computed once."""

    def __init__(
        self, image: np.ndarray, target: Target, *, device: str = "cpu", blur: Blur | None = None
    ) -> None:
        margin = MARGIN if blur is None else max(MARGIN, blur.reach)
        self.canvas = Canvas.around(target, margin=margin, device=resolve(device), blur=blur)
        rows, columns = self.canvas.inside(*_whole(target))
        unknown = ~np.isfinite(image)
        filled = np.where(unknown, np.float32(0), image)
        top, left = rows.start, columns.start
        pads = [(top, self.canvas.shape[0] - rows.stop), (left, self.canvas.shape[1] - columns.stop)]
        self.scene = torch.from_numpy(np.pad(filled, pads, mode="edge")).to(self.canvas.device)
        self.unknown = torch.from_numpy(np.pad(unknown, pads, mode="constant", constant_values=True)).to(
            self.canvas.device
        )
        self.margin = (rows, columns)
        self._coefficients: dict[float, tuple[Predictor, Tensor]] = {}

    def __call__(self, frame: PreparedFrame) -> tuple[np.ndarray, np.ndarray]:
        shape = frame.values.shape
        predicted, unknown = np.zeros(shape, np.float32), np.ones(shape, bool)
        where = footprint(self.canvas, frame.transform, shape)
        if where is None:
            return predicted, unknown
        pixel = round(1 / linear_scale(frame.transform, shape) / 0.02) * 0.02
        if pixel not in self._coefficients:
            predictor = Predictor(self.canvas, pixel)
            self._coefficients[pixel] = (predictor, predictor.coefficients(self.scene))
        predictor, coefficients = self._coefficients[pixel]
        values = predictor.sample(coefficients, where)
        middle = where.base + self.canvas.shape[1] + 1
        # The nearest fine pixel must be known: beyond the field there is only a continuation.
        nearest = middle + (where.fraction[0] > 0.5) * self.canvas.shape[1] + (where.fraction[1] > 0.5)
        lost = self.unknown.reshape(-1)[nearest]
        part = (where.rows, where.columns)
        inside = where.inside.cpu().numpy()
        predicted[part][inside] = values.cpu().numpy()
        unknown[part][inside] = lost.cpu().numpy()
        return predicted, unknown
