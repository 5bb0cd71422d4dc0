"""Which method: what the user asked for, or what fits the image's domain and the scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from sciSR.errors import ModelError, UsageError
from sciSR.grid import exact_factors
from sciSR.image import Image

CLASSICAL = ("nearest", "linear", "cubic", "lanczos", "fourier")
FALLBACK = {"mr": "fourier"}
"""Best classical method of a domain where it is not cubic: MR is sampled in k-space, where zero filling is exact."""

PREFERRED = {"astronomy": "detector", "mr": "kspace"}
"""The forward model that `auto` assumes for a domain."""


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
    automatic : bool
        Chosen by us, so that the image itself may still overrule it.
    messages : tuple of str
        What was decided and why.
    """

    name: str
    trained: bool
    times: int = 1
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


def choose(image: Image, scale: tuple[Fraction, Fraction], model: str) -> Choice:
    """Decide on the method.

    Parameters
    ----------
    image : Image
    scale : pair of Fraction
        As asked, along the two spatial axes.
    model : str
        ``"auto"``, a classical method, or a trained model's name or file.

    Raises
    ------
    ModelError
        Unknown model, or one that can't make this scale.
    """
    if image.kind == "labels":
        if model not in ("auto", "nearest"):
            raise ModelError(
                f"labels are only ever resampled by nearest neighbour, not by {model}", where=image.where
            )
        return Choice("nearest", False, messages=("a label map: nearest neighbour",))
    if model in CLASSICAL:
        return Choice(model, False)
    if model == "auto":
        return _automatic(image, scale)
    from sciSR.models.files import load_spec

    spec = load_spec(model)
    times = _repeats(spec.scale, scale)
    if times is None:
        raise ModelError(
            f"model {spec.name} refines by {spec.scale} and can't make x{scale_text(scale)}",
            where=image.where,
            remedy="choose a power of its scale, or a classical method",
        )
    notes = [] if times == 1 else [_twice(spec.name, spec.scale, times)]
    if spec.domain != image.domain and image.domain != "generic":
        notes.append(f"{spec.name} was trained for {spec.domain}, this image's domain is {image.domain}")
    return Choice(model, True, times, messages=tuple(notes))


def _automatic(image: Image, scale: tuple[Fraction, Fraction]) -> Choice:
    from sciSR.models.files import list_models

    fallback = FALLBACK.get(image.domain, "cubic")
    wanted = PREFERRED.get(image.domain)
    if wanted is None:
        return Choice(
            fallback, False, messages=(f"no trained network for domain {image.domain}: {fallback}",)
        )
    fitting = [
        (times, spec)
        for spec in list_models()
        if spec.domain == image.domain
        and spec.forward_model == wanted
        and (times := _repeats(spec.scale, scale)) is not None
    ]
    if not fitting:
        text = f"no trained network for {image.domain} at x{scale_text(scale)}: {fallback}"
        return Choice(fallback, False, messages=(text,))
    times, spec = min(fitting, key=lambda pair: (pair[0], pair[1].name))
    notes = () if times == 1 else (_twice(spec.name, spec.scale, times),)
    return Choice(spec.name, True, times, automatic=True, messages=notes)


def _repeats(step: int, scale: tuple[Fraction, Fraction]) -> int | None:
    """How often a network of scale `step` must be applied to make `scale`; None if it can't."""
    if scale[0] != scale[1] or step < 2:
        return None
    times, reached = 0, Fraction(1)
    while reached < scale[0]:
        reached *= step
        times += 1
    return times if reached == scale[0] else None


def _twice(name: str, step: int, times: int) -> str:
    word = {2: "twice", 3: "three times"}.get(times, f"{times} times")
    return f"no trained x{step**times} network: {name} (x{step}) is applied {word}"
