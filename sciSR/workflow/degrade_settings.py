"""What ``scisr degrade`` is asked to do: a configuration file, options over it, and the plan for each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.training import config_file
from sciSR.training.config import ForwardConfig
from sciSR.training.overrides import closest, parse
from sciSR.workflow.degrade_image import DegradePlan, kind_for, plan_degrade

NUMBERS: Mapping[str, type] = {"scale": int, "seed": int, "sigma": float, "gain": float, "read_noise": float}
"""Keys of a configuration beside those of `ForwardConfig`."""
PLAIN: Mapping[str, float] = {"beta": 3.5, "obscuration": 0.0}
"""Where a training draws from a range unless told otherwise, this is what a tool should do."""
SHAPE = {
    "kspace": ("partial_fourier", "apodisation"),
    "gaussian": ("fwhm",),
    "detector": ("psf", "fwhm", "beta", "obscuration", "ellipticity"),
    "bicubic": (),
    "slice_profile": ("ratio", "thickness", "profiles"),
}
"""Which keys mean something to which kind."""
# What a training configuration needs beside the forward model, so that the same checks can be asked.
_AROUND = {
    "name": "degrade",
    "domain": "mr",
    "normalisation": "range",
    "model": {"architecture": "SPAN", "conditions": ["noise", "fwhm", "kspace"]},
}


@dataclass(frozen=True)
class DegradeSettings:
    """Everything but the image.

    Parameters
    ----------
    scale : int
    forward : ForwardConfig
    automatic : bool
        Whether the kind follows from the image's domain.
    seed : int
    noise : mapping
        `sigma`, `gain` and `read_noise` of :func:`plan_degrade`, those that were given.
    given : tuple of str
        Keys that were asked for by name, and so must mean something.
    """

    scale: int = 2
    forward: ForwardConfig = field(default_factory=ForwardConfig)
    automatic: bool = True
    seed: int = 0
    noise: Mapping[str, float] = field(default_factory=dict)
    given: tuple[str, ...] = ()

    def plan(self, image: Image) -> DegradePlan:
        """What will be done to an image."""
        forward, said = self.forward, []
        if self.automatic:
            kind = kind_for(image)
            forward = dataclasses.replace(forward, kind=kind)
            said.append(f"forward model {kind}: what fits images of domain {image.domain}")
        self._check(forward)
        plan = plan_degrade(image, self.scale, forward, seed=self.seed, **self.noise)
        plan.messages[:0] = said
        return plan

    def _check(self, forward: ForwardConfig) -> None:
        """Refuse parameters that would change nothing."""
        useful = {key for kind in forward.kinds for key in SHAPE[kind]}
        every = {key for keys in SHAPE.values() for key in keys}
        for key in self.given:
            if key in every - useful:
                raise UsageError(
                    f"{key.replace('_', '-')} means nothing to the forward model {' or '.join(forward.kinds)}",
                    remedy="leave it out, or choose another --forward",
                )
        if "detector" in forward.kinds and not forward.fwhm:
            shapes = [key for key in self.given if key in ("psf", "beta", "obscuration", "ellipticity")]
            if shapes:
                raise UsageError(
                    f"{shapes[0]} is the shape of a PSF without a width", remedy="give --fwhm too"
                )


def settings_of(
    config: str | Path | None = None, options: Mapping[str, Any] | None = None, sets: Iterable[str] = ()
) -> DegradeSettings:
    """Settings from a configuration file and what is given over it.

    Parameters
    ----------
    config : path, optional
        YAML with the keys of `ForwardConfig` and `NUMBERS`; or a training configuration, whose forward model and scale
        are taken.
    options : mapping, optional
        Values by the same keys; None for those not given.
    sets : iterable of str
        ``key=value``, for any key.

    Raises
    ------
    UsageError
        Unknown keys, values that make no sense: all faults in one message.
    """
    over = {key: value for key, value in (options or {}).items() if value is not None}
    for setting in sets:
        keys, value = parse(setting, _yaml)
        over[".".join(keys)] = value
    values, lines = ({}, {}) if config is None else config_file.read(config)
    training = "forward" in values or "model" in values
    if training:
        whole = config_file.load_config(config)  # type: ignore[arg-type]
        values, lines = {"scale": whole.model.scale, **whole.as_dict()["forward"]}, {}
    given = tuple(over) if training else (*values, *over)
    values = {**({} if training else PLAIN), **values, **over}
    lines = {("forward", *place): line for place, line in lines.items() if place[0] not in over}
    numbers, forward, automatic = _checked(values, str(config or "options"), lines)
    _check_level(forward, given if not training else (*given, "snr"), over)
    noise = {key: numbers[key] for key in ("sigma", "gain", "read_noise") if key in numbers}
    return DegradeSettings(numbers.get("scale", 2), forward, automatic, numbers.get("seed", 0), noise, given)


def _checked(
    values: dict[str, Any], source: str, lines: Mapping[config_file.Place, str]
) -> tuple[dict[str, Any], ForwardConfig, bool]:
    """The numbers, the forward model, and whether its kind is left open; all faults in one message."""
    faults, numbers = [], {}
    forward = {key: value for key, value in values.items() if key not in NUMBERS and value is not None}
    for key, kind in NUMBERS.items():
        value = values.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, kind)):
            line = f" [{lines['forward', key]}]" if ("forward", key) in lines else ""
            faults.append(f"{key}{line}: must be a {'whole ' if kind is int else ''}number, not {value!r}")
        else:
            numbers[key] = value
    known = [item.name for item in dataclasses.fields(ForwardConfig)]
    for key in [key for key in forward if key not in known]:
        line = f" [{lines['forward', key]}]" if ("forward", key) in lines else ""
        faults.append(f"{key}{line}: unknown key ({closest(str(key), [*known, *NUMBERS])})")
        del forward[key]
    if isinstance(forward.get("psf"), str):
        forward["psf"] = [forward["psf"]]
    automatic = forward.get("kind", "auto") == "auto"
    if automatic:
        forward.pop("kind", None)
    config = ForwardConfig()
    try:
        config = config_file.check({**_AROUND, "forward": forward}, source, dict(lines)).forward
    except UsageError as error:
        faults.append(error.what.replace("forward.", ""))
    if faults:
        raise UsageError("; ".join(faults), where=source)
    return numbers, config, automatic


def _check_level(forward: ForwardConfig, known: Iterable[str], over: Mapping[str, Any]) -> None:
    """Noise needs to be told how much of it, once."""
    levels = [key for key in ("snr", "sigma", "gain") if key in known]
    other = "gain" if forward.noise == "poisson" else "sigma"
    if forward.noise != "none" and not levels:
        raise UsageError(
            f"noise of kind {forward.noise}, but not how much", remedy=f"give --snr or --{other} too"
        )
    if forward.noise == "none" and (levels or "read_noise" in known) and over:
        raise UsageError("the amount of noise is given, but not its kind", remedy="give --noise too")
    if len([key for key in levels if key in over]) > 1:
        raise UsageError(f"{' and '.join(levels)} say the same twice", remedy="give one of them")


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UsageError(f"--set: {text!r} is not valid YAML") from error
