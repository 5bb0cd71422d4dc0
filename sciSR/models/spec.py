"""What the engine must know about a network, and how it travels in the weights file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sciSR.errors import ModelError

FORWARD_MODELS = ("kspace", "gaussian", "detector", "bicubic", "slice_profile")
DOMAINS = ("mr", "astronomy", "natural")
NORMALISATIONS = ("range", "sky", "unit")
CONSISTENCIES = ("kspace", "gaussian", "blockmean", "none")
CONDITIONS = ("noise", "fwhm", "kspace")


_MOST = 1024
"""What an argument of a network may count: features, blocks, the entries of a list."""


def _modest(value: Any, depth: int = 0) -> bool:
    """Whether all numbers of arguments are such as networks have: one that is built of a billion blocks never is."""
    if isinstance(value, dict | list | tuple):
        inner = list(value.values() if isinstance(value, dict) else value)
        return depth < 8 and len(inner) <= _MOST and all(_modest(each, depth + 1) for each in inner)
    return not isinstance(value, int | float) or abs(value) <= _MOST


@dataclass(frozen=True)
class ModelSpec:
    """A trained network's contract with the engine.

    Parameters
    ----------
    name : str
        Name of the weights, as given to ``--model``.
    architecture : str
        Name of the class, found in `sciSR.models.files.ARCHITECTURES` or the entry points ``scisr.models``.
    arguments : dict
        Keyword arguments of its constructor.
    scale : int
        Output pixels for each input pixel and axis.
    receptive_field : int
        Radius in input pixels: the halo that a tile needs.
    multiple : int
        The input's height and width must be a multiple of this.
    forward_model : {"kspace", "gaussian", "detector", "bicubic", "slice_profile"}
        The degradation that the network was trained to undo. "slice_profile": across the slices of a volume, by any
        ratio; `scale` is then 1, what happens within a slice (see `sciSR.throughplane`).
    domain : {"mr", "astronomy", "natural"}
        The kind of images it was trained on.
    normalisation : {"range", "sky", "unit"}
        Kind of `sciSR.inference.normalise.Normaliser` that it expects.
    exact_tiling : bool
        True if tiles with a halo of the receptive field equal the whole.
    consistency : {"kspace", "gaussian", "blockmean", "none"}
        The step after the network that measured best, the default for this model.
    scales : tuple of int
        All factors that the same weights serve, if several (VDSR); `scale` is one of them. The constructor is called
        with the one that is wanted.
    conditions : tuple of str
        What ``forward(x, condition)`` is told besides the image, ``condition`` being ``[B, C]`` in this order: "noise"
        (standard deviation of the input's noise in normalised units), "fwhm" (of the point spread function in coarse
        pixels), "kspace" (1 for truncated k-space, 0 for a blur).
    adversarial : bool
        Trained against a discriminator: its detail is invented, so it is never chosen unasked, and warned of.
    """

    name: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    scale: int = 2
    receptive_field: int = 0
    multiple: int = 1
    forward_model: str = "detector"
    domain: str = "astronomy"
    normalisation: str = "sky"
    exact_tiling: bool = True
    consistency: str = "none"
    scales: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()
    adversarial: bool = False

    def __post_init__(self) -> None:
        for key, kind in (("name", str), ("architecture", str), ("arguments", dict), ("exact_tiling", bool)):
            if not isinstance(getattr(self, key), kind):  # weights come from anywhere
                raise ModelError(
                    f"model {self.name!r}: {key} is {getattr(self, key)!r:.60}, no {kind.__name__}"
                )
        for key in ("scales", "conditions"):  # JSON has lists
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for key, allowed in (
            ("forward_model", FORWARD_MODELS),
            ("domain", DOMAINS),
            ("normalisation", NORMALISATIONS),
            ("consistency", CONSISTENCIES),
        ):
            if getattr(self, key) not in allowed:
                raise ModelError(
                    f"model {self.name}: {key} is {getattr(self, key)!r}, must be one of {', '.join(allowed)}"
                )
        for key, least, most in (("scale", 1, 64), ("receptive_field", 0, 4096), ("multiple", 1, 1024)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ModelError(
                    f"model {self.name}: {key} is {value!r}, must be a whole number of at least {least}, at most {most}"
                )
        if not _modest(self.arguments):
            raise ModelError(f"model {self.name}: its arguments hold numbers or lists beyond {_MOST}")
        if any(
            isinstance(each, bool) or not isinstance(each, int) or not 1 <= each <= 64 for each in self.scales
        ):
            raise ModelError(
                f"model {self.name}: scales are {self.scales}, must be whole numbers from 1 to 64"
            )
        if self.scales and self.scale not in self.scales:
            raise ModelError(f"model {self.name}: scale {self.scale} is not one of its scales {self.scales}")
        if unknown := set(self.conditions) - set(CONDITIONS):
            raise ModelError(
                f"model {self.name}: unknown conditions {', '.join(sorted(unknown))} (known: {', '.join(CONDITIONS)})"
            )

    @property
    def factors(self) -> tuple[int, ...]:
        """All factors that the weights serve, ascending."""
        return tuple(sorted(self.scales or (self.scale,)))

    @property
    def forward_models(self) -> tuple[str, ...]:
        """All forward models that it can undo: of one that is told which, both."""
        return ("kspace", "gaussian") if "kspace" in self.conditions else (self.forward_model,)

    def to_metadata(self) -> dict[str, str]:
        """The spec as the string-to-string metadata of a safetensors file; every value is JSON."""
        return {key: json.dumps(value, sort_keys=True) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str] | None, source: str = "weights") -> ModelSpec:
        """The spec from safetensors metadata; unknown keys (of newer versions) are left alone."""
        metadata = metadata or {}
        missing = [
            key
            for key in ("name", "architecture", "arguments", "scale", "receptive_field")
            if key not in metadata
        ]
        if missing:
            raise ModelError(
                f"no sciSR model: its metadata has no {', '.join(missing)}",
                where=source,
                remedy="write it with sciSR.models.files.save_model",
            )
        known = {item.name for item in fields(cls)}
        try:
            return cls(**{key: json.loads(value) for key, value in metadata.items() if key in known})
        except (json.JSONDecodeError, TypeError) as error:
            raise ModelError(f"{source}: damaged model metadata ({error})") from error


def receptive_field(model: Any) -> int:
    """Radius of a convolutional model's receptive field in input pixels.

    Parameters
    ----------
    model : torch.nn.Module
        Its own method ``receptive_field()`` is believed, if it has one; otherwise its layers tell
        (`sciSR.models.reach`).

    Returns
    -------
    int
        Radius: the output pixels that lie in an input pixel depend on inputs at most this far from it.
    """
    from sciSR.models.reach import reach

    own = getattr(model, "receptive_field", None)
    return math.ceil(own()) if callable(own) else reach(model)
