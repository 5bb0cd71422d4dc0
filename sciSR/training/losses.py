"""What a training run makes small: terms that compare prediction and truth, over the part of a patch that counts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward.bicubic import imresize
from sciSR.training.config import LossTerm, TrainConfig
from sciSR.training.consistent import Consistency, linear, network
from sciSR.training.pair import Batch

Term = Callable[[Tensor, Tensor], Tensor]
"""Prediction and truth ``[B, 1, H, W]``, float -> scalar."""

PLAIN = 0.1
"""Weight of the plain L1 beside the error beyond the band ("kspace"): the step is not exact on a patch, and an output
that is nearly right before it needs little of it."""

LEVEL = 0.5
"""Weight of the level term of ``loss.consistency: same``."""


def l1() -> Term:
    """Mean absolute error."""
    return lambda x, t: (x - t).abs().mean()


def mse() -> Term:
    """Mean square error."""
    return lambda x, t: (x - t).square().mean()


def charbonnier(eps: float = 1e-3) -> Term:
    """``sqrt(d^2 + eps^2)``, the smooth L1 of LapSRN (Lai et al., CVPR 2017); `eps` at equality."""
    return lambda x, t: ((x - t).square() + eps**2).sqrt().mean()


def huber(delta: float = 1.0) -> Term:
    """Quadratic below `delta`, linear above."""
    return lambda x, t: F.huber_loss(x, t, delta=delta)


def log_mse(floor: float = 1e-5) -> Term:
    """Half the natural logarithm of each patch's mean square error, plus a floor: every patch counts by its PSNR,
    quiet ones as much as bright ones (1 is 8.7 dB)."""
    return lambda x, t: 0.5 * ((x - t).square().mean((1, 2, 3)) + floor).log().mean()


def fourier(window: bool = False) -> Term:
    """Mean absolute difference of the amplitudes of the spectra (unitary transform).

    Blind to where things are, so it doesn't punish a sharp detail that lies a little off (Fuoli et al., "Fourier space
    losses for efficient perceptual image super-resolution", ICCV 2021); use it beside a loss that isn't.

    Parameters
    ----------
    window : bool
        Hann window as in the paper: the patch's edges leave the spectrum, exact shift invariance is lost.
    """

    def term(x: Tensor, t: Tensor) -> Tensor:
        if window:
            rows, columns = (torch.hann_window(n, dtype=x.dtype, device=x.device) for n in x.shape[-2:])
            x, t = x * rows[:, None] * columns, t * rows[:, None] * columns
        a, b = (torch.fft.rfft2(v, norm="ortho").abs() for v in (x, t))
        return (a - b).abs().mean()

    return term


def gradient() -> Term:
    """Mean absolute error of the differences between neighbours, along rows plus along columns."""

    def term(x: Tensor, t: Tensor) -> Tensor:
        error = x - t
        return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()

    return term


def ssim(data_range: float | None = None, normalisation: str = "range") -> Term:
    """1 - SSIM (Wang et al. 2004, doi:10.1109/TIP.2003.819861): Gaussian window of 11 pixels, sigma 1.5.

    As ``skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``.

    Parameters
    ----------
    data_range : float, optional
        Range that the two constants are relative to, in network units; if not given 1, and 8 for a sky (asinh: from
        the sky to three thousand times its noise).
    normalisation : {"range", "sky", "unit"}
        Of the run.
    """
    if data_range is None:
        data_range = 8.0 if normalisation == "sky" else 1.0
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def term(x: Tensor, t: Tensor) -> Tensor:
        rows, columns = (_smoothing(n, x.dtype, x.device) for n in x.shape[-2:])

        def mean(v: Tensor) -> Tensor:
            return rows @ v @ columns.mT

        a, b = mean(x), mean(t)
        var_a, var_b, covariance = mean(x * x) - a * a, mean(t * t) - b * b, mean(x * t) - a * b
        ratio = (2 * a * b + c1) * (2 * covariance + c2) / ((a * a + b * b + c1) * (var_a + var_b + c2))
        return 1 - ratio.mean()

    return term


@functools.lru_cache(maxsize=16)
def _smoothing(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """SSIM's Gaussian window as a banded matrix ``[size - 10, size]``: several times faster than a convolution of one
    channel."""
    taps = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    if size < len(taps):
        raise UsageError(
            f"ssim needs {len(taps)} pixels, the patch's inner part has {size}", remedy="use larger patches"
        )
    matrix = torch.zeros(size - 10, size, dtype=torch.float64)
    for row, line in enumerate(matrix):
        line[row : row + 11] = taps / taps.sum()
    return matrix.to(device, dtype)


PIXEL: dict[str, Callable[..., Term]] = {
    "l1": l1, "mse": mse, "charbonnier": charbonnier, "huber": huber, "log_mse": log_mse, "fourier": fourier,
    "gradient": gradient,
}  # fmt: skip
"""Judged on every level of a progressive network; the other kinds on its last one."""


def _makers() -> dict[str, Callable[..., Term]]:
    from sciSR.training import perceptual  # needs nothing else, but most runs don't need it

    return {**PIXEL, "ssim": ssim, "vgg": perceptual.vgg, "features": perceptual.features}


@dataclasses.dataclass(frozen=True)
class _Weighted:
    name: str
    weight: float
    term: Term
    within: bool
    every_level: bool


def _make(spec: LossTerm, config: TrainConfig, device: torch.device, name: str) -> _Weighted:
    """A term from its configuration; a wrong kind or option is an error that lists the right ones."""
    makers = _makers()
    if spec.kind not in makers:
        raise UsageError(f"loss: there is no {spec.kind!r}", remedy=f"use one of {', '.join(makers)}")
    maker, options = makers[spec.kind], dict(spec.options)
    within = bool(options.pop("within", False))
    accepted = inspect.signature(maker).parameters
    given = {"device": device, "normalisation": config.normalisation}
    known = sorted((set(accepted) - set(given)) | {"within"})
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"loss {spec.kind}: unknown option {', '.join(unknown)}; known: {', '.join(known)}")
    needed = [
        key for key, item in accepted.items() if item.default is inspect.Parameter.empty and key not in given
    ]
    missing = [key for key in needed if key not in options]
    if missing:
        raise UsageError(f"loss {spec.kind}: option {', '.join(missing)} is missing")
    term = maker(**options, **{key: value for key, value in given.items() if key in accepted})
    return _Weighted(name, spec.weight, term, within, spec.kind in PIXEL)


class Loss:
    """The total of a run's terms and its parts.

    Parameters
    ----------
    config : TrainConfig
        Of it ``loss``, ``consistency`` and ``normalisation``. Each term has its kind's options and ``within: true``,
        with which the mean error of each input pixel is taken out first (for inputs whose noise stays in the output).
    halo : int
        Input pixels at a patch's border where zero padding shows the network what the engine never does; they are not
        judged, as far as half of the patch's area is left.
    device : torch.device

    Raises
    ------
    UsageError
        An unknown kind or option, or a consistency step without its forward model.
    """

    def __init__(self, config: TrainConfig, halo: int, device: torch.device | str) -> None:
        self.halo, self.normalisation, self.mode = halo, config.normalisation, config.loss.consistency
        self.step = None if self.mode == "none" else Consistency(config.consistency, config.normalisation)
        names: dict[str, int] = {}
        self.terms: list[_Weighted] = []
        for spec in config.loss.terms:
            count = names[spec.kind] = names.get(spec.kind, 0) + 1
            name = spec.kind if count == 1 else f"{spec.kind}_{count}"
            self.terms.append(_make(spec, config, torch.device(device), name))

    def __call__(self, prediction: Tensor | list[Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare predictions with a batch.

        Parameters
        ----------
        prediction : Tensor ``[B, 1, s h, s w]`` or list of Tensor
            The network's output in any floating type; of a progressive network all levels, coarse to fine.
        batch : Batch

        Returns
        -------
        total : Tensor, float32 scalar
        parts : dict of str to Tensor
            Weighted and detached; they add up to the total.
        """
        levels = prediction if isinstance(prediction, list) else [prediction]
        with torch.autocast(batch.truth.device.type, enabled=False):
            parts = self._last(levels[-1].float(), batch)
            for level in levels[:-1]:
                for name, value in self._level(level.float(), batch).items():
                    parts[name] = parts[name] + value
            total = torch.stack(list(parts.values())).sum()
        return total, {key: value.detach() for key, value in parts.items()}

    def finished(self, prediction: Tensor | list[Tensor], batch: Batch) -> Tensor:
        """The last output ``[B, 1, s h, s w]``, float32, after the consistency step if the loss has one."""
        last = prediction[-1] if isinstance(prediction, list) else prediction
        with torch.autocast(batch.truth.device.type, enabled=False):
            return last.float() if self.step is None else self.step.finish(last.float(), batch)

    def judged(self, prediction: Tensor | list[Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """(output after the consistency step, truth), float32, without the rim that isn't judged: what a discriminator
        is to tell apart."""
        last = prediction[-1] if isinstance(prediction, list) else prediction
        with torch.autocast(batch.truth.device.type, enabled=False):
            return self._inner(last.float(), batch)[:2]

    def _inner(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Batch, int]:
        """(finished, truth) where they are compared; the bare output, the batch without its rim, and how many more of
        its input pixels the comparison leaves out."""
        scale = x.shape[-1] // batch.input.shape[-1]
        rim = self._rim(batch.input.shape[-1])
        inner = dataclasses.replace(batch, input=_cut(batch.input, rim), truth=_cut(batch.truth, scale * rim))
        bare = _cut(x, scale * rim)
        if self.step is None:
            return bare, inner.truth, bare, inner, 0
        margin = min(self.step.margin, inner.input.shape[-1] // 8)
        finished = self.step.finish(bare, inner)
        return _cut(finished, scale * margin), _cut(inner.truth, scale * margin), bare, inner, margin

    def _last(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        finished, truth, bare, inner, margin = self._inner(x, batch)
        parts = self._compare(finished, truth, x.shape[-1] // batch.input.shape[-1], self.terms)
        if self.step is not None and self.step.kind == "kspace":
            parts["plain"] = PLAIN * (bare - inner.truth).abs().mean()
        if self.step is not None and self.mode == "same":
            parts["level"] = LEVEL * _cut(self.step.level(bare, inner), margin).abs().mean()
        return parts

    def _level(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """A coarser level of a progressive network against the truth reduced to its size."""
        scale = x.shape[-1] // batch.input.shape[-1]
        rim = scale * self._rim(batch.input.shape[-1])
        truth = reduced(batch.truth, batch.truth.shape[-1] // x.shape[-1], self.normalisation)
        return self._compare(_cut(x, rim), _cut(truth, rim), scale, [t for t in self.terms if t.every_level])

    def _compare(self, x: Tensor, truth: Tensor, scale: int, terms: list[_Weighted]) -> dict[str, Tensor]:
        parts = {}
        for item in terms:
            given = x
            if item.within:
                mean = F.avg_pool2d(x - truth, scale)
                given = x - F.interpolate(mean, scale_factor=scale, mode="nearest")
            parts[item.name] = item.weight * item.term(given, truth)
        return parts

    def _rim(self, side: int) -> int:
        """Input pixels to cut on each side: the halo, but half of the area stays."""
        return min(self.halo, math.floor(side * (1 - math.sqrt(0.5)) / 2))


def reduced(truth: Tensor, factor: int, normalisation: str) -> Tensor:
    """A truth ``[B, 1, H, W]`` for a coarser level, ``[B, 1, H / factor, W / factor]``.

    Bicubic as in LapSRN's paper; for skies the mean in linear units, which is what a detector with pixels of that size
    sees and has no dark rings about stars.
    """
    if normalisation == "sky":
        return network(F.avg_pool2d(linear(truth, normalisation), factor), normalisation)
    return imresize(truth, Fraction(1, factor))


def build(config: TrainConfig, halo: int, device: torch.device | str) -> Loss:
    """The loss of a run, see `Loss`."""
    if config.forward.across:
        from sciSR.training.slice_loss import SliceLoss

        return SliceLoss(config, halo, device)
    return Loss(config, halo, device)


def _cut(x: Tensor, rim: int) -> Tensor:
    return x[..., rim:-rim, rim:-rim] if rim else x
