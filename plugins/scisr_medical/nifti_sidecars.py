"""Files that lie beside a NIfTI image and carry its name: diffusion gradients and BIDS metadata.

Gradient tables are copied byte for byte: FSL's bvecs are in voxel axes, and neither the axes nor the handedness
change. A BIDS JSON keeps every key and gains a ``SciSR`` block with the provenance. Values that are told in voxels
follow them: along the phase encoding, see :mod:`scisr_medical.readout_times`; and where the slice axis itself was
refined the acquired slices are no longer there, see :func:`scisr_medical.nifti_slices.refined_record`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRWarning
from sciSR.provenance import Provenance
from scisr_medical.nifti_slices import refined_record
from scisr_medical.readout_times import KEYS, adapt_readout

ENDINGS = (".bval", ".bvec", ".bvals", ".bvecs", "_bvals.txt", "_bvecs.txt", ".json")
_IMAGE_SUFFIX = re.compile(r"\.((nii|hdr|img|mgh)(\.gz)?|mgz)$", re.IGNORECASE)
# A gradient table or a BIDS sidecar is a few kB; dcm2niix's with private fields are below 1 MB.
_LARGEST = 64 << 20


def stem(path: Path) -> str:
    """A file's name without ``.nii``, ``.nii.gz``, ``.hdr``, ``.img``, ``.mgh``, ``.mgz``."""
    return _IMAGE_SUFFIX.sub("", path.name)


def sidecars_of(path: Path) -> dict[str, Path]:
    """Sidecars that exist beside an image, by their ending."""
    found = {ending: path.with_name(stem(path) + ending) for ending in ENDINGS}
    return {
        ending: file for ending, file in found.items() if file.is_file() and file.stat().st_size <= _LARGEST
    }


def json_record(file: Path, content: bytes | None = None) -> dict[str, Any] | None:
    """The object in a JSON sidecar; None if it holds anything else or can't be read."""
    try:
        record = json.loads(file.read_bytes() if content is None else content)
    except (OSError, ValueError, RecursionError):
        return None
    return dict(record) if isinstance(record, Mapping) else None


def sidecar_content(
    file: Path,
    content: bytes,
    provenance: Provenance,
    *,
    slice_spacing: float | None,
    shapes: tuple[Sequence[int], Sequence[int]],
) -> bytes:
    """What to write beside the output for one sidecar of the input.

    Parameters
    ----------
    file : Path
        The input's sidecar.
    content : bytes
        What it held.
    provenance : Provenance
    slice_spacing : float or None
        mm between the slices if they are no longer those that were acquired.
    shapes : pair of sequences of int
        Of the input and of the output, with the file's axes.
    """
    if file.suffix != ".json":
        return content
    record = json_record(file, content)
    if record is None:
        warnings.warn(f"{file}: is no JSON object; copied as it is", SciSRWarning, stacklevel=3)
        return content
    acquired = dict(record)
    if slice_spacing is not None:
        record = refined_record(record, slice_spacing)
    adapt_readout(record, *shapes)
    original = _original(record, acquired)
    record["SciSR"] = {
        "Steps": list(provenance.steps), **original, "Warning": "Research use only, not for diagnosis"
    }  # fmt: skip
    indent = "\t" if b"\n\t" in content else 2
    return (json.dumps(record, indent=indent, ensure_ascii=False) + "\n").encode()


def _original(record: Mapping[str, Any], acquired: Mapping[str, Any]) -> dict[str, Any]:
    """What the scanner said before any run changed it: an earlier run's record counts more than this one's input."""
    own = record.get("SciSR")
    earlier = own.get("Original") if isinstance(own, Mapping) else None
    changed = {key: acquired[key] for key in KEYS if key in acquired and record.get(key) != acquired[key]}
    original = changed | (dict(earlier) if isinstance(earlier, Mapping) else {})
    return {"Original": original} if original or earlier is not None else {}
