"""The plan: which method, which consistency, which device, decided before a pixel is computed."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from sciSR.colour import rgb_axis
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.inference.choose import Choice, Wish, choose, parse_scale, scale_text, spatial_factors
from sciSR.inference.conditions import conditions_of
from sciSR.inference.device import choose_device, tune_allocator
from sciSR.inference.gate import check
from sciSR.inference.kinds import is_other_kind, method_for, plan_kind, resample_labels
from sciSR.inference.normalise import Normaliser, fit
from sciSR.inference.stages import to_network_memory
from sciSR.inference.statistics import Sample, sample
from sciSR.inference.upscaling import WHOLE_PLANE, Consistency, Progress, UpscalePlan, out_of_float32
from sciSR.inference.whole_plane import GaussianSamples
from sciSR.trust.familiarity import Familiarity, assess, refuse_unfamiliar

if TYPE_CHECKING:
    from sciSR.inference.colour import ColourPlan
    from sciSR.inference.kinds import BoundedPlan, LabelPlan, PairPlan
    from sciSR.uncertainty.interface import Uncertain


def plan_upscale(
    image: Image,
    scale: Any = 2,
    model: str = "auto",
    *,
    consistency: Consistency = "auto",
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    tile: int | None = None,
    forward: str = "auto",
    noise: float | None = None,
    psf_fwhm: float | None = None,
    label_method: Literal["nearest", "argmax"] = "nearest",
    uncertainty: bool | Uncertain = False,
    strict: bool = False,
) -> UpscalePlan | ColourPlan | BoundedPlan | PairPlan | LabelPlan:
    """Decide how an image will be upscaled; reads it once for its statistics.

    Parameters
    ----------
    image : Image
    scale : number, str, or pair
        2, 1.5, ``"3/2"``, or one number per spatial axis. A scale that does not give whole pixels is rounded to
        the nearest that does, so that the field stays exact.
    model : str
        ``"auto"``, ``"nearest"``, ``"linear"``, ``"cubic"``, ``"lanczos"``, ``"fourier"``, a trained model's name or
        the path of its weights.
    consistency : {"auto", "block", "kspace", "gaussian", "none"}
        Which measurement the result must reproduce: the mean of each original pixel, the acquired part of k-space,
        the samples of a Gaussian profile of `psf_fwhm`, none. ``"auto"`` takes the network's own, and for classical
        methods the block mean except on MR and CT.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : {"fp32", "bf16"}
        bf16 is about 1.6 times as fast on a CPU that has it; 65 dB or better from float64 (fp32: over 140).
    tile : int, optional
        Tile size in input pixels; by default as large as the memory allows, up to 512. The result does not depend
        on it.
    forward : {"auto", "kspace", "gaussian", "detector", "bicubic"}
        How the image came to its pixels, which the network is to undo: k-space truncated by the scanner, a Gaussian
        profile of the voxel, a detector's pixels behind optics, a photograph made smaller. By default detector for
        astronomy and kspace for MR.
    noise : float, optional
        Standard deviation of the noise in the image's unit, for networks that are told it; estimated by default.
    psf_fwhm : float, optional
        Full width at half maximum of the point spread function in input pixels, for networks that are told it and
        for the Gaussian consistency; there 1 by default.
    label_method : {"nearest", "argmax"}
        For label maps: the nearest label, or the one whose upscaled indicator is highest; see
        :func:`sciSR.inference.kinds.resample_labels`. `model` is then the indicators' interpolation.
    uncertainty : bool or Uncertain
        Find the standard deviation of each output pixel: the input's noise carried through the same stages, and the
        network's own error where a model of it is at hand. True looks that model up; the settings of an
        :class:`~sciSR.uncertainty.interface.Uncertain` are taken as they are.
    strict : bool
        Refuse an image that is unlike what the network was trained on, instead of saying so.

    Returns
    -------
    UpscalePlan, ColourPlan, BoundedPlan, PairPlan or LabelPlan
        The second for an image with an axis ``"rgb"``: see :mod:`sciSR.inference.colour`; the others for probabilities,
        phases and complex voxels, and labels: see :mod:`sciSR.inference.kinds`.

    Raises
    ------
    SciSRError
        Impossible scale, unknown model or device, or pixels that can't be upscaled.
    """
    if not isinstance(image, Image):
        raise UsageError(
            f"a {type(image).__name__} is no sciSR image",
            remedy="use sciSR.read, or sciSR.Image.from_array(array)",
        )
    if label_method not in ("nearest", "argmax"):
        raise UsageError(f"unknown label method {label_method!r}", remedy="use nearest or argmax")
    settings = {"model": model, "consistency": consistency, "device": device, "precision": precision}
    settings |= {"tile": tile, "forward": forward, "noise": noise, "psf_fwhm": psf_fwhm, "strict": strict}
    if uncertainty is not False and uncertainty is not None:
        from sciSR.uncertainty.planning import plan_with_uncertainty

        plan = functools.partial(plan_upscale, scale=scale, label_method=label_method, **settings)
        return plan_with_uncertainty(image, plan, uncertainty)
    if is_other_kind(image):
        settings["model"] = method_for(image) if model == "auto" else model
        plan = plan_kind(image, functools.partial(plan_upscale, scale=scale, **settings))
        if model == "auto":
            plan.messages.insert(0, f"networks have learned from intensities only: {settings['model']}")
        return plan
    if image.kind == "labels" and label_method == "argmax":
        return _vote(image, scale, model)
    if rgb_axis(image) is not None:
        from sciSR.inference.colour import plan_colour

        return plan_colour(image, functools.partial(plan_upscale, scale=scale, **settings))
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"unknown precision {precision!r}", remedy="use fp32 or bf16")
    if tile is not None and (not isinstance(tile, int) or tile < 1):
        raise UsageError(f"a tile of {tile!r} pixels is too small")
    asked = parse_scale(scale)
    factors = spatial_factors(image, asked)
    where = choose_device(device)
    if where.type == "cpu":
        tune_allocator()  # before torch's first threads, which would get a heap each
    wish = Wish(model, forward, noise, psf_fwhm, consistency)
    choice = choose(image, asked, wish)
    messages = list(choice.messages)
    if factors != asked:
        messages.append(
            f"x{scale_text(asked)} would not give whole pixels: x{float(factors[0]):.9g}, x{float(factors[1]):.9g}"
        )
    if image.kind == "labels":
        empty = Sample(np.empty(0), 0, int(np.prod(image.shape)))
        return UpscalePlan(
            image, choice, factors, "none", where, False, tile, empty, Normaliser("range", 0, 0), [], messages
        )
    statistics = sample(image)
    _check_range(
        image, statistics, 1.0 if image.quantity == "density" else 1 / float(factors[0] * factors[1])
    )
    models: list[Any] = []
    familiar = None
    if choice.trained:
        choice, models, familiar = _load(image, choice, where, messages, strict)
    normaliser = fit(statistics.values, models[0][1].normalisation if models else "sky")
    messages.extend(_pedestal_note(normaliser))
    kept = _consistency(image, choice, models, consistency, factors)
    if kept == "gaussian":
        GaussianSamples(int(factors[0]), 1.0 if psf_fwhm is None else psf_fwhm)  # refuses what can't be kept
    conditions = conditions_of(image, models[0][1], choice, wish, normaliser) if models else ()
    return UpscalePlan(
        image,
        choice,
        factors,
        kept,
        where,
        precision == "bf16",
        tile,
        statistics,
        normaliser,
        models,
        messages,
        conditions,
        psf_fwhm,
        familiarity=familiar,
    )


def _vote(image: Image, scale: Any, kernel: str) -> LabelPlan:
    """The plan of a label map whose labels are voted for."""
    first, second = image.spatial_axes
    factors = [Fraction(1)] * len(image.shape)
    factors[first], factors[second] = spatial_factors(image, parse_scale(scale))
    return resample_labels(image, factors, "argmax", kernel)


def _check_range(image: Image, statistics: Sample, share: float) -> None:
    """Refuse values that float32, in which results are written, can't hold to its own rounding."""
    peak = float(np.abs(statistics.values).max(initial=0.0))
    largest, tiny = (float(v) for v in (np.finfo(np.float32).max, np.finfo(np.float32).tiny))
    if peak * share > largest or 0 < peak * share < tiny:
        raise out_of_float32(image, peak)


def _pedestal_note(normaliser: Normaliser) -> list[str]:
    """A message where float32 can't hold the image's detail on top of its level."""
    rounding = abs(normaliser.offset) * float(np.finfo(np.float32).eps)
    if rounding <= 0.01 * normaliser.scale or normaliser.scale == 0:
        return []
    return [
        f"results are float32, which rounds to {rounding:.2g} at the level of {normaliser.offset:.3g}, coarse for "
        f"a spread of {normaliser.scale:.2g}: subtract the level first"
    ]


def _load(
    image: Image, choice: Choice, device: torch.device, messages: list[str], strict: bool
) -> tuple[Choice, list[Any], Familiarity]:
    """Load the network; hold the image against its training; where it was our choice, let the image check it first."""
    from sciSR.models.community import fitted, warn_of
    from sciSR.models.files import load_model
    from sciSR.models.gradient_reach import tiling_error

    model, spec, digest = load_model(choice.name, scale=choice.step)
    model, spec = fitted(model, spec, image.domain)
    warn_of(model, spec)
    familiar = assess(image, spec)
    if not spec.exact_tiling:
        error = tiling_error(model, spec)
        messages.append(
            f"{spec.name} sees farther than the {spec.receptive_field} pixels around a tile: tiles differ from the "
            f"whole by up to {error:.1g} of its range (measured on a trial image)"
        )
    if choice.automatic:

        def run(plane: np.ndarray, method: str) -> np.ndarray:
            trial = Image.from_array(plane, domain=image.domain, source=image.source, part=image.part)
            told = {} if method != spec.name else {"forward": choice.forward}
            factor = spec.scale**choice.times
            result = upscale(trial, factor, method, device=str(device), **told)
            return np.asarray(result.data, dtype=np.float64)

        choice = check(image, choice, spec, run)
        messages[:] = choice.messages
    messages.extend(familiar.lines())
    if strict:
        refuse_unfamiliar(image, spec, familiar, choice)
    if not choice.trained:
        return choice, [], familiar
    return choice, [(to_network_memory(model, device), spec, digest)], familiar


_OF_SPEC = {"blockmean": "block", "kspace": "kspace", "gaussian": "gaussian", "none": "none"}


def _consistency(
    image: Image, choice: Choice, models: list[Any], asked: str, factors: tuple[Fraction, Fraction]
) -> str:
    if asked not in ("auto", "none", *_OF_SPEC.values()):
        raise UsageError(f"unknown consistency {asked!r}", remedy="use auto, block, kspace, gaussian or none")
    is_uniform = factors[0] == factors[1] and factors[0].denominator == 1
    if asked in WHOLE_PLANE and not is_uniform:
        raise UsageError(f"{asked} consistency needs one whole-number scale", where=image.where)
    if asked != "auto":
        return asked
    if choice.trained:
        return _OF_SPEC[models[0][1].consistency]
    if choice.name == "fourier" and image.domain == "mr" and is_uniform:
        return "kspace"  # zero filling keeps the acquired coefficients by itself; this measures how well
    return "none" if image.domain in ("mr", "ct") else "block"


def upscale(
    image: Image, scale: Any = 2, model: str = "auto", *, progress: Progress | None = None, **options: Any
) -> Image:
    """Upscale an image in memory.

    Parameters
    ----------
    image : Image
        From :func:`sciSR.read`, or :meth:`Image.from_array`.
    scale, model, **options
        See :func:`plan_upscale`.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    Image
        float32 (labels keep their dtype, complex pixels are complex64), on the refined grid, with the provenance of
        what was done.
    """
    plan = plan_upscale(image, scale, model, **options)
    data = np.empty(plan.output.shape, dtype=plan.output.dtype)

    def put(index: tuple[slice | int, ...], block: np.ndarray) -> None:
        data[index] = block

    final = plan.run(put, progress).replace(data=data)
    if options.get("uncertainty"):
        final = final.replace(uncertainty=np.asarray(final.uncertainty))
    return final
