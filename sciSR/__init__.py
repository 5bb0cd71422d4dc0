"""sciSR: super-resolution for scientific images, with geometry, flux and metadata kept.

>>> import sciSR
>>> image = sciSR.read("m51.fits")                          # doctest: +SKIP
>>> sharp = sciSR.upscale(image, scale=2, model="auto")      # doctest: +SKIP
>>> sciSR.write(sharp, "m51_x2.fits")                        # doctest: +SKIP

Research use only, not for diagnosis.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sciSR.api import degrade as degrade
    from sciSR.api import fuse as fuse
    from sciSR.api import fuse_volumes as fuse_volumes
    from sciSR.api import read as read
    from sciSR.api import read_all as read_all
    from sciSR.api import read_sequence as read_sequence
    from sciSR.api import upscale as upscale
    from sciSR.api import write as write
    from sciSR.comparison.compare import compare as compare
    from sciSR.comparison.halves import compare_halves as compare_halves
    from sciSR.errors import SciSRError as SciSRError
    from sciSR.evaluation.evaluate import evaluate as evaluate
    from sciSR.image import Image as Image
    from sciSR.report.page import write_upscale_report as write_upscale_report
    from sciSR.sequence import FrameSequence as FrameSequence
    from sciSR.trust.support import check_support as check_support
    from sciSR.uncertainty.interface import Uncertain as Uncertain
    from sciSR.verify.checking import verify_files as verify_files
    from sciSR.workflow.cluster.blocks_run import upscale_blocks as upscale_blocks
    from sciSR.workflow.pipelines.pipeline import Pipeline as Pipeline

_LAZY = {
    "check_support": "sciSR.trust.support",
    "compare": "sciSR.comparison.compare",
    "compare_halves": "sciSR.comparison.halves",
    "evaluate": "sciSR.evaluation.evaluate",
    "degrade": "sciSR.api",
    "fuse": "sciSR.api",
    "fuse_volumes": "sciSR.api",
    "read": "sciSR.api",
    "read_all": "sciSR.api",
    "read_sequence": "sciSR.api",
    "upscale": "sciSR.api",
    "upscale_blocks": "sciSR.workflow.cluster.blocks_run",
    "verify_files": "sciSR.verify.checking",
    "write": "sciSR.api",
    "write_upscale_report": "sciSR.report.page",
    "FrameSequence": "sciSR.sequence",
    "Image": "sciSR.image",
    "Pipeline": "sciSR.workflow.pipelines.pipeline",
    "SciSRError": "sciSR.errors",
    "Uncertain": "sciSR.uncertainty.interface",
}

logging.getLogger("sciSR").addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    # `import sciSR` stays fast: numpy, torch and the adapters come with the first call that needs them.
    if name in _LAZY:
        import importlib

        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'sciSR' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
