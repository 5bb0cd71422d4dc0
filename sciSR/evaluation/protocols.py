"""The protocols by name, on the check files of a data root."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from sciSR.api import read_all
from sciSR.errors import SciSRWarning, UnreadableError, UsageError
from sciSR.evaluation import astronomy, natural
from sciSR.evaluation.cache import ScoreCache
from sciSR.evaluation.measure import Scores, measure, measure_photograph, measure_scene
from sciSR.evaluation.methods import Method, all_classical, trained
from sciSR.evaluation.mr import oracles
from sciSR.evaluation.subject import Subject, subject_of
from sciSR.evaluation.table import Table
from sciSR.models.spec import ModelSpec

NAMES = (
    "mr-kspace",
    "mr-gaussian",
    "mr-kspace-noisy",
    "mr-gaussian-noisy",
    "astro-simulated",
    "astro-real",
    "set5",
    "set14",
)
SNR = 20.0
"""Of the noisy protocols."""

NOT_IN_MEAN = ("phantom_GE_13_Ax_T2_FLAIR_FS_DL_High.nii.gz",)
"""A phantom: marked for tests of geometry and ringing, no anatomy."""

WORDS = {
    "mr-through-plane": (
        "Sharp volumes never trained on, 1 mm or so, the central 128 x 128 window; every four slices became one "
        "through a Gaussian profile as wide as their spacing, and all but linear, cubic and lanczos are told so; "
        "intensities over the truth's 99.9 % quantile; mask: truth > 0.05, closed, filled, minus a frame of eight "
        "voxels; PSNR over the mask, SSIM (three dimensions, Gaussian window 1.5) averaged there."
    ),
    "mr": (
        "Volumes never trained on, degraded by the forward model; 24 central slices (all if fewer); intensities over "
        "the truth's 99.9 % quantile; mask: truth > 0.05, closed, filled, minus a frame of 2 scale pixels; PSNR and "
        "NRMSE over the mask of all slices, SSIM (Gaussian window 1.5) averaged; bias: error of the mean intensity, %."
    ),
    "astro-simulated": (
        "Simulated fields never trained on, noiseless truth; PSNR, SSIM and NRMSE of asinh((x - sky) / 2 sigma), "
        "sigma the noise of the input's sky, peak the truth's range; bias and scatter of the bright stars' fluxes in "
        "apertures, %. All methods keep the flux of each input pixel."
    ),
    "astro-real": (
        "Real images never trained on; the input is their block mean, the truth the image itself, noise and all, "
        "which bounds the PSNR; scored as the simulated ones."
    ),
    "set": (
        "Luminance (8 bits) reduced by MATLAB's bicubic; the result rounded to 8 bits, a border of scale pixels cut."
    ),
}
"""What each protocol does."""


def words(name: str) -> str:
    """A protocol in a few sentences."""
    text = next(text for key, text in WORDS.items() if name.startswith(key))
    if not name.endswith("-noisy"):
        return text
    return f"{text} Rician noise on the input: its 99.5 % quantile is {SNR:g} sigma."


def protocols_of(spec: ModelSpec) -> tuple[str, ...]:
    """The protocols that measure a network: those of its own domain and forward models, with noise if it is told.

    None for one that works across slices: ``benchmarks/mri.py`` measures it.
    """
    if spec.forward_model == "slice_profile":
        return ()
    if spec.domain == "mr":
        plain = tuple(f"mr-{forward}" for forward in spec.forward_models)
        return plain + (tuple(f"{name}-noisy" for name in plain) if "noise" in spec.conditions else ())
    return ("astro-simulated", "astro-real") if spec.domain == "astronomy" else ("set5", "set14")


def forward_of(name: str) -> str:
    """The forward model of a protocol."""
    if name.startswith("mr-"):
        return name.removeprefix("mr-").removesuffix("-noisy")
    return "detector" if name.startswith("astro") else "bicubic"


def check_file(path: Path) -> Subject:
    """The first image of a check file that holds intensities.

    A checksum in a header that no longer fits, because a tool wrote into it, is no reason to leave the file out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        is_fits = path.name.endswith((".fits", ".fit", ".fz"))
        images = read_all(path, **({"ignore_checksum": True} if is_fits else {}))
    for image in images:
        if image.kind == "intensity":
            return subject_of(image, name=path.name)
    raise UnreadableError("no intensities in it, only labels", where=path)


def run(
    name: str,
    weights: Sequence[str | Path],
    data: Path,
    scale: int,
    *,
    cache: ScoreCache | None = None,
    extra: Sequence[Method] = (),
) -> Table:
    """Every network of `weights` and every classical method by one protocol.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    weights : sequence of str or Path
        Names of shipped networks, or paths.
    data : Path
        Root with ``mri/check``, ``astro/check``, ``natural/set5`` and so on.
    scale : int
    cache : ScoreCache, optional
        Where scores of the classical methods are kept.
    extra : sequence of Method
        More methods.

    Raises
    ------
    UsageError
        The data root has no such files.
    VerificationError
        Set5 or Set14 don't give the published bicubic figures.
    """
    cache = cache or ScoreCache()
    classical = [natural.bicubic()] if name.startswith("set") else all_classical()
    methods = [*classical, *oracles(forward_of(name)), *extra, *(trained(w, scale) for w in weights)]
    if name.startswith("set"):
        natural.prove(data / "natural" / name, name, scale)
    rows: dict[str, Scores] = {}
    for image, key, score in _exams(name, data, scale, cache):
        known = cache.known(key)
        rows[image] = score(methods, known)
        cache.keep(key, rows[image], methods)
    if not rows:
        raise UsageError(f"no check files for {name}", where=data, remedy="give the data root with --data")
    return Table(name, scale, rows, {m.name: m.info for m in methods}, NOT_IN_MEAN)


def _exams(name: str, data: Path, scale: int, cache: ScoreCache) -> Iterator[tuple]:
    """(image's name, its key in the cache, ``score(methods, known) -> scores``) of every image of a protocol."""
    if name == "astro-simulated":
        for title, scene in astronomy.scenes(scale).items():
            yield (
                title,
                cache.key(name, scale, title),
                lambda m, known, scene=scene: measure_scene(scene, scale, m, known),
            )
        return
    kind = name.partition("-")[0]
    folder, pattern = {
        "mr": ("mri/check", "*.nii.gz"),
        "astro": ("astro/check", "*.fits"),
        "set5": ("natural/set5", "*.png"),
        "set14": ("natural/set14", "*.png"),
    }[kind]
    forward, snr = forward_of(name), SNR if name.endswith("-noisy") else None
    for path in sorted((data / folder).glob(pattern)):
        key = cache.key(name, scale, path)
        if kind.startswith("set"):
            pixels = natural.read_photograph(path)
            yield path.name, key, lambda m, known, p=pixels: measure_photograph(p, scale, m, known)
        else:
            subject = check_file(path)
            yield path.name, key, lambda m, known, s=subject: measure(s, forward, scale, m, known, snr=snr)
