"""What a training run depends on, but for the pixels: frozen dataclasses with plain values.

They need the standard library alone, so that a prepared patch file can be trained from on a machine with little else.
`sciSR.training.config_file` reads them from YAML and checks them (pydantic).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Range = float | tuple[float, float]
"""A number, or the two ends between which it is drawn for each patch."""

Kind = Literal["kspace", "gaussian", "detector", "bicubic", "slice_profile"]
Profile = Literal["gaussian", "rect", "sinc"]
Domain = Literal["mr", "astronomy", "natural"]
Normalisation = Literal["range", "sky", "unit"]
STRICT = {"extra": "forbid"}


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Parameters
    ----------
    architecture : str
        Name of the class, see ``scisr plugins``.
    arguments : dict
        Keyword arguments of its constructor, but for ``scale``.
    scale : int
        Fine pixels for each coarse pixel and axis.
    scales : tuple of int
        All factors that the same weights serve, if several (VDSR); `scale` is then the one it is validated at.
    conditions : tuple of str
        What a conditional network is told, in this order: "noise" (standard deviation of the input's noise in
        normalised units), "fwhm" (of the point spread function in coarse pixels), "kspace" (1 for truncated k-space,
        0 for a blur).
    start : str, optional
        Weights to begin from: name of a shipped model, or a path.
    """

    __pydantic_config__ = STRICT
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    scale: int = 2
    scales: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()
    start: str | None = None


@dataclass(frozen=True)
class ForwardConfig:
    """How a sharp patch becomes the input; ranges are drawn anew for each patch.

    Parameters
    ----------
    kind : str or tuple of str
        "kspace" (central crop of the spectrum, magnitude), "gaussian" (Gaussian PSF sampled at coarse centres),
        "detector" (optical PSF, pixel integration, noise), "bicubic" (MATLAB's imresize). Several: one is drawn for
        each patch (for networks that have it as a condition). "slice_profile": slices are made thick across, by an
        operator drawn anew for each step (`sciSR.training.thick_slices`); within them nothing changes.
    psf : tuple of {"gaussian", "moffat", "airy"}
        Families of the optical PSF that "detector" draws from, applied to real images on top of their own.
    fwhm : Range, optional
        Of the PSF, in *coarse* pixels: for "gaussian" 1 if not given, for "detector" 0 (no further blur).
    beta, obscuration, ellipticity : Range
        Moffat's exponent; Airy's central obscuration; 1 - b/a (angle uniform).
    partial_fourier : Range
        Share of the phase-encoding lines that was acquired (1: all).
    apodisation : Range
        0: no window on the k-space (ringing as acquired), 1: a full Hann window.
    noise : {"none", "gaussian", "poisson", "rician"}
        Of the input, drawn anew at every visit of a patch. "poisson": variance v0 + v1 x (photons and read-out).
    snr : Range
        Signal to noise: for MR the 99.5 % quantile over sigma; for real sky images the noise is their own and none is
        added.
    hot_pixels : Range
        Share of hot and dead pixels in the input.
    ratio : Range
        "slice_profile": thin slices for each thick one, log-uniform.
    thickness : Range
        "slice_profile": full width at half maximum of the profile over the spacing of the thick slices.
    profiles : tuple of {"gaussian", "rect", "sinc"}
        "slice_profile": drawn from; one that stands there twice comes twice as often.
    """

    __pydantic_config__ = STRICT
    kind: Kind | tuple[Kind, ...] = "kspace"
    psf: tuple[Literal["gaussian", "moffat", "airy"], ...] = ("gaussian",)
    fwhm: Range | None = None
    beta: Range = (2.2, 5.0)
    obscuration: Range = (0.0, 0.4)
    ellipticity: Range = 0.0
    partial_fourier: Range = 1.0
    apodisation: Range = 0.0
    noise: Literal["none", "gaussian", "poisson", "rician"] = "none"
    snr: Range = (20.0, 200.0)
    hot_pixels: Range = 0.0
    ratio: Range = (1.7, 8.5)
    thickness: Range = (0.6, 1.4)
    profiles: tuple[Profile, ...] = ("gaussian", "gaussian", "gaussian", "rect", "sinc")

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds that are drawn from."""
        return (self.kind,) if isinstance(self.kind, str) else self.kind

    @property
    def across(self) -> bool:
        """Whether slices are made thick; the other kinds act within them."""
        return "slice_profile" in self.kinds


@dataclass(frozen=True)
class DataConfig:
    """Which files, and how patches are drawn from them.

    Parameters
    ----------
    root : str
        Folder that the patterns are below; relative to the working directory.
    train, validation, exclude : tuple of str
        Glob patterns below `root`. Without `validation`, `validation_share` of the *subjects or sky fields* is held
        out (never single patches).
    group : str, optional
        Regular expression whose first group names the subject or field in a file's path; by default the file's own
        header or name decides.
    validation_share : float
    patch : int
        Coarse pixels a side.
    patches, validation_patches : int
        How many a prepared file holds.
    foreground : float
        Least share of a patch's pixels above a tenth of the range (MR).
    simulated : float
        Share of patches from simulated skies with noiseless truth (astronomy).
    resampled : float
        Share of skies, simulated or real, that are turned into resampled mosaics.
    workers : int
        Processes that read files.
    """

    __pydantic_config__ = STRICT
    root: str = "."
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    group: str | None = None
    validation_share: float = 0.1
    patch: int = 48
    patches: int = 2000
    validation_patches: int = 64
    foreground: float = 0.3
    simulated: float = 0.0
    resampled: float = 0.0
    workers: int = 0


@dataclass(frozen=True)
class AugmentConfig:
    """Changes that keep a pair a pair.

    Parameters
    ----------
    flips, rotations : bool
        Mirror images, quarter turns.
    gain, offset : Range
        ``gain x + offset`` in normalised units, alike for input and truth.
    contrast : Range
        Factor on the differences from a patch's mean, alike for input and truth.
    gamma : Range
        Exponent on the truth before it is degraded (values relative to its range).
    rescale : tuple of float
        Factors by which a sharp image may be reduced before it is cut (the ".6 to 1" of the T91 recipes).
    mixup : float
        Probability that a pair is mixed with another of the batch.
    """

    __pydantic_config__ = STRICT
    flips: bool = True
    rotations: bool = True
    gain: Range = 1.0
    offset: Range = 0.0
    contrast: Range = 1.0
    gamma: Range = 1.0
    rescale: tuple[float, ...] = (1.0,)
    mixup: float = 0.0


@dataclass(frozen=True)
class LossTerm:
    """One term of the loss.

    Parameters
    ----------
    kind : str
        "l1", "mse", "charbonnier", "huber", "log_mse" (every patch counts by its PSNR), "fourier" (amplitude),
        "gradient", "ssim", "vgg", "features".
    weight : float
    options : dict
        Of this kind, e.g. ``{file: vgg19.pth}``.
    """

    __pydantic_config__ = STRICT
    kind: str
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdversarialConfig:
    """A discriminator beside the network.

    Parameters
    ----------
    discriminator : {"srgan", "dcgan"}
    relativistic : bool
        ESRGAN's relativistic average instead of the standard loss.
    weight : float
        Of the adversarial term in the network's loss.
    start : int
        Step from which on it counts; before, the content loss alone.
    lr : float
    """

    __pydantic_config__ = STRICT
    discriminator: Literal["srgan", "dcgan"] = "srgan"
    relativistic: bool = False
    weight: float = 1e-3
    start: int = 0
    lr: float = 1e-4


@dataclass(frozen=True)
class LossConfig:
    """What is made small.

    Parameters
    ----------
    terms : tuple of LossTerm
    consistency : {"none", "inside", "same"}
        "inside": the consistency step is the network's last layer while it trains (Geiss and Hardin 2023), so that it
        learns only what the measurement leaves open. "same" adds a small term that keeps the bare output near the
        measurement too.
    adversarial : AdversarialConfig, optional
    """

    __pydantic_config__ = STRICT
    terms: tuple[LossTerm, ...] = (LossTerm("l1"),)
    consistency: Literal["none", "inside", "same"] = "none"
    adversarial: AdversarialConfig | None = None


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, Adam, SGD, or Muon for the kernels with AdamW for the rest.

    Parameters
    ----------
    kind : {"adamw", "adam", "sgd", "muon"}
    lr : float
        Peak learning rate.
    weight_decay : float
    betas : pair of float
    clip : float, optional
        Largest norm of the gradient.
    """

    __pydantic_config__ = STRICT
    kind: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = 1.0


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over the steps, relative to its peak."""

    __pydantic_config__ = STRICT
    kind: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup: int = 200
    floor: float = 1e-3


@dataclass(frozen=True)
class LoopConfig:
    """The loop.

    Parameters
    ----------
    steps, batch, seed : int
    precision : {"fp32", "bf16", "fp16"}
        Of the network's mixed precision.
    ema : float
        Decay of the averaged weights, which are what is kept; 0: none.
    validate_every, checkpoint_every : int
        Steps.
    patience : int, optional
        Validations without improvement after which it stops early.
    samples : int
        Validation patches drawn as a picture at each validation.
    """

    __pydantic_config__ = STRICT
    steps: int = 10_000
    batch: int = 16
    seed: int = 1
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    ema: float = 0.999
    validate_every: int = 500
    checkpoint_every: int = 500
    patience: int | None = None
    samples: int = 4


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Parameters
    ----------
    name : str
        Of the model, and of its run folder.
    domain : {"mr", "astronomy", "natural"}
    normalisation : {"range", "sky", "unit"}
        What stands between image and network, see `sciSR.inference.normalise`.
    consistency : {"kspace", "gaussian", "blockmean", "none"}
        The step after the network that the engine takes by default.
    card : dict
        What no program can know: summary, limits, notes; goes into the card.
    model, forward, data, augment, loss, optimizer, schedule, training
        The parts.
    """

    __pydantic_config__ = STRICT
    name: str
    domain: Domain
    normalisation: Normalisation
    model: ModelConfig
    forward: ForwardConfig = ForwardConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: LoopConfig = LoopConfig()
    consistency: Literal["kspace", "gaussian", "blockmean", "none"] = "none"
    card: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers: what JSON and YAML hold."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of :meth:`as_dict`, without pydantic: for values that were checked before they were stored."""
        return _build(cls, values)


_PARTS: dict[str, type] = {
    "model": ModelConfig,
    "forward": ForwardConfig,
    "data": DataConfig,
    "augment": AugmentConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "training": LoopConfig,
    "adversarial": AdversarialConfig,
}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _build(kind: type, values: dict[str, Any]) -> Any:
    known = {item.name: item for item in dataclasses.fields(kind)}
    made: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:  # of a newer version
            continue
        if key == "terms":
            made[key] = tuple(_build(LossTerm, term) for term in value)
        elif key in _PARTS and isinstance(value, dict):
            made[key] = _build(_PARTS[key], value)
        else:
            made[key] = tuple(value) if isinstance(value, list) else value
    return kind(**made)
