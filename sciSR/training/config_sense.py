"""What types can't say of a training configuration: bounds of numbers, and values that exclude each other."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from typing import Any

from sciSR.errors import ModelError
from sciSR.models.spec import CONDITIONS
from sciSR.training.config import TrainConfig
from sciSR.training.overrides import closest
from sciSR.yaml_file import Problem

LOSSES = (
    "l1", "mse", "charbonnier", "huber", "log_mse", "fourier", "gradient", "ssim", "vgg", "features",
)  # fmt: skip

BOUNDS = {
    "model.scale": "[2, inf)",
    "model.scales": "[2, inf)",
    "forward.fwhm": "[0, inf)",
    "forward.beta": "(1, inf)",
    "forward.obscuration": "[0, 1)",
    "forward.ellipticity": "[0, 1)",
    "forward.partial_fourier": "(0.5, 1]",
    "forward.apodisation": "[0, 1]",
    "forward.snr": "(0, inf)",
    "forward.hot_pixels": "[0, 1]",
    "forward.ratio": "(1, inf)",
    "forward.thickness": "(0, inf)",
    "data.validation_share": "(0, 1)",
    "data.patch": "[8, inf)",
    "data.patches": "[1, inf)",
    "data.validation_patches": "[1, inf)",
    "data.foreground": "[0, 1]",
    "data.simulated": "[0, 1]",
    "data.resampled": "[0, 1]",
    "data.workers": "[0, inf)",
    "augment.gain": "(0, inf)",
    "augment.contrast": "(0, inf)",
    "augment.gamma": "(0, inf)",
    "augment.rescale": "(0, 1]",
    "augment.mixup": "[0, 1]",
    "loss.adversarial.weight": "(0, inf)",
    "loss.adversarial.start": "[0, inf)",
    "loss.adversarial.lr": "(0, inf)",
    "optimizer.lr": "(0, inf)",
    "optimizer.weight_decay": "[0, inf)",
    "optimizer.betas": "[0, 1)",
    "optimizer.clip": "(0, inf)",
    "schedule.warmup": "[0, inf)",
    "schedule.floor": "[0, 1]",
    "training.steps": "[1, inf)",
    "training.batch": "[1, inf)",
    "training.ema": "[0, 1)",
    "training.validate_every": "[1, inf)",
    "training.checkpoint_every": "[1, inf)",
    "training.patience": "[1, inf)",
    "training.samples": "[0, inf)",
}
"""Interval of every number; of a range or a list, of each."""


Found = tuple[tuple[str | int, ...], Problem]


def nonsense(config: TrainConfig) -> Iterator[Found]:
    """Every value that can't work, with its place."""
    for name, interval in BOUNDS.items():
        if name == "model.scale" and config.forward.across:
            continue
        value: Any = config
        for key in name.split("."):
            value = getattr(value, key, None)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(_inside(number, interval) for number in numbers):
            shown = list(value) if isinstance(value, tuple) else value
            yield tuple(name.split(".")), Problem(f"must be {_words(interval)}, not {shown}")
    yield from _ranges(config)
    yield from _model(config)
    yield from _across(config)
    yield from _rest(config)


def _inside(value: float, interval: str) -> bool:
    low, high = (float(text) for text in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    return above and (value <= high if interval[-1] == "]" else value < high) and not math.isnan(value)


def _words(interval: str) -> str:
    low, high = (text.strip() for text in interval[1:-1].split(","))
    if high == "inf":
        return f"{'at least' if interval[0] == '[' else 'above'} {low}"
    return f"in {interval}"


def _ranges(config: TrainConfig) -> Iterator[Found]:
    for part in ("forward", "augment"):
        section = getattr(config, part)
        for key, value in vars(section).items():
            numbers = (
                isinstance(value, tuple)
                and len(value) == 2
                and key not in ("kind", "psf", "profiles", "rescale")
            )
            if numbers and value[0] > value[1]:
                yield (
                    (part, key),
                    Problem(f"runs from {value[0]} down to {value[1]}", "give the smaller end first"),
                )


def _model(config: TrainConfig) -> Iterator[Found]:
    from sciSR.models.files import architecture

    model = config.model
    if model.scales and model.scale not in model.scales:
        yield ("model", "scales"), Problem(f"must hold model.scale, which is {model.scale}")
    for condition in model.conditions:
        if condition not in CONDITIONS:
            yield (
                ("model", "conditions"),
                Problem(f"there is no {condition!r}", closest(condition, CONDITIONS)),
            )
    several = len(config.forward.kinds) > 1 and not config.forward.across
    if several and "kspace" not in model.conditions:
        yield (
            ("forward", "kind"),
            Problem(
                "several forward models need a network that is told which it is",
                "add kspace to model.conditions",
            ),
        )
    try:
        parameters = inspect.signature(architecture(model.architecture)).parameters
    except ModelError as error:
        yield ("model", "architecture"), Problem(error.what)
        return
    anything = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    known = [key for key in parameters if key not in ("scale", "self")]
    for key in model.arguments:
        if key == "scale":
            yield ("model", "arguments", key), Problem("belongs into model.scale")
        elif key not in known and not anything:
            remedy = closest(key, known) if known else "it takes none"
            yield ("model", "arguments", key), Problem(f"{model.architecture} has no such argument", remedy)


def _across(config: TrainConfig) -> Iterator[Found]:
    """A network across the slices: what is of use within them only excludes it."""
    forward, model = config.forward, config.model
    if forward.across != (model.architecture == "ThroughPlane"):
        yield (
            ("forward", "kind"),
            Problem(
                "'slice_profile' is what ThroughPlane undoes, and no other network", "set both, or neither"
            ),
        )
    if not forward.across:
        return
    for place, wrong, text in (
        (("forward", "kind"), len(forward.kinds) > 1, "'slice_profile' can't be mixed with others"),
        (("forward", "profiles"), not forward.profiles, "must have one profile at least"),
        (("model", "scale"), model.scale != 1, f"must be 1 across the slices, not {model.scale}"),
        (
            ("model", "scales"),
            bool(model.scales),
            "must be empty across the slices: any ratio is one network's",
        ),
        (("model", "conditions"), bool(model.conditions), "must be empty: ThroughPlane is told all there is"),
        (
            ("consistency",),
            config.consistency != "none",
            "must be none: ThroughPlane's output agrees as it is",
        ),
        (("normalisation",), config.normalisation == "sky", "must be linear: slices are means of tissue"),
    ):
        if wrong:
            yield place, Problem(text)


def _rest(config: TrainConfig) -> Iterator[Found]:
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", config.name):
        yield (
            ("name",),
            Problem(f"{config.name!r} can't be a file name", "use letters, digits, '-', '_' and '.'"),
        )
    for number, term in enumerate(config.loss.terms):
        if term.kind not in LOSSES:
            yield (
                ("loss", "terms", number, "kind"),
                Problem(f"there is no {term.kind!r}", closest(term.kind, LOSSES)),
            )
    if not config.loss.terms:
        yield ("loss", "terms"), Problem("must have one term at least", "e.g. [{kind: l1}]")
    if config.loss.consistency != "none" and config.consistency == "none":
        yield (
            ("loss", "consistency"),
            Problem(
                f"is {config.loss.consistency!r}, but there is no step to be consistent with",
                "set consistency to kspace, gaussian or blockmean",
            ),
        )
    if config.data.group is not None:
        try:
            if not re.compile(config.data.group).groups:
                yield ("data", "group"), Problem("has no group in parentheses", "e.g. '(sub-[0-9]+)'")
        except re.error as error:
            yield ("data", "group"), Problem(f"is no regular expression ({error})")
