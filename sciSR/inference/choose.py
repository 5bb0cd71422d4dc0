"""Which method: what the user asked for, or what fits the image's domain and the scale."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction

from sciSR.errors import ModelError, SciSRWarning, UsageError
from sciSR.grid import exact_factors
from sciSR.image import Image
from sciSR.inference.candidates import PREFERRED, Candidate, best_network, is_adversarial, reach
from sciSR.models.spec import FORWARD_MODELS, ModelSpec

CLASSICAL = ("nearest", "linear", "cubic", "lanczos", "fourier")
FALLBACK = {"mr": "fourier"}
"""Best classical method of a domain where it is not cubic: MR is sampled in k-space, where zero filling is exact."""


@dataclass(frozen=True)
class Wish:
    """What the user knows about the image, or asks for.

    Parameters
    ----------
    model : str
        ``"auto"``, a classical method, or a trained model's name or file.
    forward : str
        The forward model to undo: one of `sciSR.models.spec.FORWARD_MODELS`, or ``"auto"`` for the domain's.
    noise : float, optional
        Standard deviation of the noise in the image's unit.
    psf_fwhm : float, optional
        Full width at half maximum of the point spread function, in input pixels.
    consistency : str
        What the result is asked to reproduce; "gaussian" makes use of `psf_fwhm` whatever the network is told.
    """

    model: str = "auto"
    forward: str = "auto"
    noise: float | None = None
    psf_fwhm: float | None = None
    consistency: str = "auto"

    def __post_init__(self) -> None:
        if self.forward not in ("auto", *FORWARD_MODELS):
            known = ", ".join(("auto", *FORWARD_MODELS))
            raise UsageError(f"unknown forward model {self.forward!r}", remedy=f"use one of {known}")
        for name, value in (("noise", self.noise), ("psf_fwhm", self.psf_fwhm)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value!r}", remedy="give a finite number that is not negative")

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a network must be able to be told."""
        given = {"noise": self.noise, "fwhm": None if self.consistency == "gaussian" else self.psf_fwhm}
        return tuple(name for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class Choice:
    """A method for an image.

    Attributes
    ----------
    name : str
        ``"cubic"``, or a trained model's name or path.
    trained : bool
    times : int
        How often it is applied in a row (x4 from a x2 network: twice).
    step : int, optional
        The factor that the network is built for.
    forward : str
        The forward model that it undoes; empty for classical methods.
    automatic : bool
        Chosen by us, so that the image itself may still overrule it.
    messages : tuple of str
        What was decided and why.
    """

    name: str
    trained: bool
    times: int = 1
    step: int | None = None
    forward: str = ""
    automatic: bool = False
    messages: tuple[str, ...] = ()

    def noting(self, *notes: str) -> Choice:
        """The same choice with more to say about it."""
        return replace(self, messages=(*self.messages, *notes))


def parse_scale(scale: object, *, native: bool = False) -> tuple[Fraction, Fraction]:
    """A pair of factors (first, second spatial axis) from 2, 1.5, ``"3/2"``, ``"2,3"`` or a pair.

    Parameters
    ----------
    scale : number, str or pair
    native : bool
        Whether 1 on both axes is a scale too.

    Raises
    ------
    UsageError
        Not a number, not above 1 on any axis (unless `native`), below 1 on one, or above 64.
    """
    if hasattr(scale, "tolist"):  # NumPy's numbers and arrays
        scale = scale.tolist()
    parts = scale.split(",") if isinstance(scale, str) else scale
    pair = list(parts) if isinstance(parts, list | tuple) else [parts]
    try:
        factors = [Fraction(str(p).strip()) if isinstance(p, str) else Fraction(p) for p in pair]
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise UsageError(
            f"{scale!r} is no scale", remedy="give a number above 1 such as 2, 1.5 or 3/2"
        ) from None
    factors = [f.limit_denominator(10_000) for f in factors]
    if len(factors) == 1:
        factors *= 2
    if len(factors) != 2 or min(factors) < 1 or max(factors) > 64:
        raise UsageError(
            f"scale {scale!r} is not between 1 and 64", remedy="give a number above 1, or two: 2,3"
        )
    if max(factors) == 1 and not native:
        raise UsageError("scale 1 changes nothing", remedy="give a number above 1, or two: 2,3")
    return factors[0], factors[1]


def scale_text(factors: tuple[Fraction, Fraction]) -> str:
    """``2``, ``1.5`` or ``2,3``: how a scale is written in messages and file names."""
    words = [str(f.numerator) if f.denominator == 1 else f"{float(f):.6g}" for f in factors]
    return words[0] if words[0] == words[1] else ",".join(words)


def spatial_factors(image: Image, scale: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    """Factors that give whole pixels on this image."""
    sizes = [image.shape[axis] for axis in image.spatial_axes]
    if min(sizes) == 0:
        raise UsageError("an axis of the image has no pixels", where=image.where)
    first, second = exact_factors(sizes, scale)
    if first == second == 1:
        raise UsageError(
            f"x{scale_text(scale)} makes no pixel more of {sizes[0]}x{sizes[1]}",
            where=image.where,
            remedy="give a larger scale",
        )
    return first, second


def choose(image: Image, scale: tuple[Fraction, Fraction], wish: Wish) -> Choice:
    """Decide on the method.

    Parameters
    ----------
    image : Image
    scale : pair of Fraction
        As asked, along the two spatial axes.
    wish : Wish

    Raises
    ------
    ModelError
        Unknown model, one that can't make this scale, undo this forward model, or be told what was given.
    """
    model = wish.model
    if image.kind == "labels":
        if model not in ("auto", "nearest"):
            raise ModelError(
                f"labels are only ever resampled by nearest neighbour, not by {model}",
                where=image.where,
                remedy="give --label-method argmax to interpolate each label's indicator",
            )
        return Choice("nearest", False, messages=("a label map: nearest neighbour",))
    if model in CLASSICAL:
        if wish.conditions or wish.forward != "auto":
            what = ", ".join(wish.conditions) or f"forward model {wish.forward}"
            raise ModelError(
                f"{model} can't be told the {what}", remedy="leave the option away, or choose a trained model"
            )
        return Choice(model, False)
    return _automatic(image, scale, wish) if model == "auto" else _named(image, scale, wish)


def _named(image: Image, scale: tuple[Fraction, Fraction], wish: Wish) -> Choice:
    from sciSR.models.files import load_spec

    spec = load_spec(wish.model)
    way = reach(spec, scale)
    if way is None:
        able = ", ".join(map(str, spec.factors))
        raise ModelError(
            f"model {spec.name} refines by {able} and can't make x{scale_text(scale)}",
            where=image.where,
            remedy="choose a power of its scale, or a classical method",
        )
    forward = _undone(spec, image.domain) if wish.forward == "auto" else wish.forward
    if forward not in spec.forward_models:
        raise ModelError(
            f"model {spec.name} undoes {spec.forward_model}, not {forward}",
            where=image.where,
            remedy="leave --forward to the model, or choose another ('scisr models')",
        )
    if missing := set(wish.conditions) - set(spec.conditions):
        raise ModelError(
            f"model {spec.name} can't be told the {', '.join(sorted(missing))}",
            where=image.where,
            remedy="choose a conditional one ('scisr models')",
        )
    notes = _notes(way)
    if is_adversarial(spec):
        warnings.warn(
            f"{spec.name} was trained adversarially: it invents texture; the result is a picture, not a measurement",
            SciSRWarning,
            stacklevel=4,
        )
    if spec.domain != image.domain and image.domain != "generic":
        notes.append(f"{spec.name} was trained for {spec.domain}, this image's domain is {image.domain}")
    return Choice(wish.model, True, way.times, way.step, forward, messages=tuple(notes))


def _undone(spec: ModelSpec, domain: str) -> str:
    """The forward model that a network undoes unasked."""
    preferred = PREFERRED.get(domain, "")
    return preferred if preferred in spec.forward_models else spec.forward_model


def _automatic(image: Image, scale: tuple[Fraction, Fraction], wish: Wish) -> Choice:
    fallback = FALLBACK.get(image.domain, "cubic")
    forward = PREFERRED.get(image.domain) if wish.forward == "auto" else wish.forward
    way = None
    if forward is not None and image.domain in PREFERRED:
        way = best_network(image.domain, forward, scale, wish.conditions)
    if way is not None:
        notes = _notes(way)
        if way.times > 1:
            notes = [f"no network trained for x{scale_text(scale)}", *notes]
        return Choice(
            way.spec.name, True, way.times, way.step, forward, automatic=True, messages=tuple(notes)
        )
    if image.domain not in PREFERRED:
        return Choice(
            fallback, False, messages=(f"no trained network for domain {image.domain}: {fallback}",)
        )
    lacking = f"no trained network for {image.domain} at x{scale_text(scale)}"
    if wish.forward == "auto" and not wish.conditions:
        return Choice(fallback, False, messages=(f"{lacking}: {fallback}",))
    told = f" and is told the {', '.join(wish.conditions)}" if wish.conditions else ""
    raise ModelError(
        f"{lacking} undoes {forward}{told}",
        where=image.where,
        remedy="'scisr models' lists what there is; without these options there is always a method",
    )


def _notes(way: Candidate) -> list[str]:
    """What a user should know about a network before it is used."""
    if way.times == 1:
        return []
    word = {2: "twice", 3: "three times"}.get(way.times, f"{way.times} times")
    return [
        f"{way.spec.name} is a x{way.step} network, applied {word} to make x{way.step**way.times}: often no better "
        "than interpolation"
    ]
