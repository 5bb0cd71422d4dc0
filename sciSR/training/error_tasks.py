"""The error heads: what each is for, which methods it learns from, and three sets of files without overlap.

Heads learn from files that the networks themselves were trained on, and from simulated skies; they are calibrated on
others of ``train/`` and on other seeds; what ``check/`` holds serves the table of coverage alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sciSR.training import error_cases
from sciSR.training.error_cases import Case

Role = Literal["train", "calibrate"]

SKIES = {
    "train": (
        "jwst_nircam_f200w_abell2744_jw02561.fits",
        "cfhtls_w3_27_g.fits",
        "cfhtls_w3_27_r.fits",
        "cfhtls_w3_27_i.fits",
        "2mass_m17_ks_1350080.fits.gz",
        "2mass_m17_ks_1440198.fits.gz",
        "trace_171_active_region.fits",
    ),
    "calibrate": (
        "spitzer_irac_gc_1025x513.fits",
        "sdss_g_stripe_2048x1489.fits.bz2",
        "sdss_r_682x496.fits.bz2",
        "sdss_i_682x496.fits.bz2",
        "2mass_gc_j.fits",
        "2mass_gc_h.fits",
        "2mass_gc_k.fits",
        "2mass_m17_ks_1350092.fits.gz",
        "2mass_m17_ks_1420186.fits.gz",
        "2mass_m17_ks_1430080.fits.gz",
    ),
}
VOLUMES = {
    "train": (
        "adi_axT2_0p43x2p5.nii.gz",
        "openms_long_p01_study1_T2W.nii.gz",
        "openms_long_p01_study2_FLAIR.nii.gz",
        "openms_long_p03_study1_T2W.nii.gz",
        "openms_long_p03_study2_T1W.nii.gz",
        "openms_p07_FLAIR_mni1mm.nii.gz",
        "openms_p07_T1_mni1mm.nii.gz",
        "pymskt_knee_mese_echo1.nii.gz",
    ),
    "calibrate": (
        "openms_long_p20_study2_FLAIR.nii.gz",
        "openms_long_p04_study1_T1W.nii.gz",
        "openms_long_p04_study1_T2W.nii.gz",
        "studyforrest_7T_T1_0p7.nii.gz",
        "torchio_fernando_T2_0p75x5p5.nii.gz",
    ),
}
SEEDS = {"train": 2_400_000, "calibrate": 3_600_000, "test": 9_750_000}
"""Where the seeds of simulated skies begin, apart from each other's also modulo `sciSR.training.sky.SCENES`; those of
the networks begin at 100,003, of their cards above 9,000,000."""

CLASSICAL = ("nearest", "linear", "cubic", "lanczos", "fourier")


@dataclass(frozen=True)
class Task:
    """What a head is for.

    Parameters
    ----------
    name : str
    domain, forward : str
    scale : int
    automatic : str
        The network that ``auto`` takes.
    others : tuple of str
        Further networks that it learns from, each with a calibration of its own.
    further : tuple of str
        Networks that it does not learn from, with a calibration of their own.
    cases_of_each : int
        Cases of each file to learn from; and six times as many simulated skies.
    """

    name: str
    domain: str
    forward: str
    scale: int
    automatic: str
    others: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    cases_of_each: int = 8

    @property
    def normalisation(self) -> str:
        """Of the head."""
        return "sky" if self.domain == "astronomy" else "range"

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods, the automatic one first."""
        return (self.automatic, *self.others, *self.further, *CLASSICAL)

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Names below the data root by role."""
        folder, names = ("astro", SKIES) if self.domain == "astronomy" else ("mri", VOLUMES)
        return {role: tuple(f"{folder}/train/{name}" for name in these) for role, these in names.items()}

    def cases(self, role: Role, data: Path, count: int) -> Iterator[Case]:
        """Cases of every file (`count` of each) and, for skies, of simulated seeds; the same in every run."""
        if self.domain == "astronomy":
            yield from self._simulated(role, 6 * count)
        for file in self.files[role]:
            path, name = data / file, file.rpartition("/")[2]
            for number in range(count):
                if self.domain == "astronomy":
                    made = [error_cases.sky(path, name, self.scale, number)]
                else:
                    made = [
                        error_cases.volume(path, name, self.forward, self.scale, number, reduce)
                        for reduce in self.sizes(role)
                    ]
                yield from (case for case in made if case is not None)

    def sizes(self, role: Role) -> tuple[int, ...]:
        """Pixels a side that are averaged first: at factor 4 how far methods err depends on the size of the voxels."""
        return (1, 2) if role == "calibrate" and self.domain == "mr" and self.scale == 4 else (1,)

    def _simulated(self, role: Role, count: int) -> Iterator[Case]:
        """Skies as simulated, and every fourth as a resampled mosaic."""
        for number in range(count):
            seed = SEEDS[role] + 1 + number
            case = error_cases.simulated(seed, self.scale, resampled=number % 4 == 3)
            if case is not None:
                yield case

    def method(self, number: int) -> str:
        """The method of training case `number`: the automatic one in three of five, otherwise any."""
        g = np.random.default_rng([7, number])
        known = (*self.others, *CLASSICAL)
        return self.automatic if g.random() < 0.6 else str(g.choice(np.array(known)))


def _others(domain: str, names: str) -> tuple[str, ...]:
    return tuple(f"{name}-{domain}" for name in names.split())


TASKS = {
    task.name: task
    for task in (
        Task(
            "error-astro-x2",
            "astronomy",
            "detector",
            2,
            "espcn-astro-x2",
            _others("astro-x2", "ecbsr fsrcnn srcnn"),
            _others("astro-x2", "conditional edsr lapsrn span sparse srresnet vdsr"),
        ),
        Task("error-astro-x4", "astronomy", "detector", 4, "ecbsr-astro-x4", further=("srgan-astro-x4",)),
        Task(
            "error-mr-kspace-x2",
            "mr",
            "kspace",
            2,
            "ecbsr-mr-kspace-x2",
            _others("mr-kspace-x2", "edsr espcn fsrcnn lapsrn span sparse srcnn srresnet vdsr"),
            ("conditional-mr-x2",),
            cases_of_each=12,
        ),
        Task("error-mr-kspace-x4", "mr", "kspace", 4, "ecbsr-mr-kspace-x4", ("srgan-mr-kspace-x4",)),
        Task(
            "error-mr-gaussian-x2",
            "mr",
            "gaussian",
            2,
            "ecbsr-mr-gaussian-x2",
            ("espcn-mr-gaussian-x2",),
            cases_of_each=5,
        ),
        Task("error-mr-gaussian-x4", "mr", "gaussian", 4, "ecbsr-mr-gaussian-x4"),
    )
}
