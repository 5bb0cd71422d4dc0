"""Files that lie beside a NIfTI image and carry its name: diffusion gradients and BIDS metadata.

Gradient tables are copied byte for byte: FSL's bvecs are in voxel axes, and neither the axes nor the handedness
change. A BIDS JSON keeps every key and value and gains a ``SciSR`` block with the provenance; ``SliceTiming`` is
dropped if the slice axis itself was refined, since the acquired slices are no longer there.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from sciSR.errors import SciSRWarning
from sciSR.provenance import Provenance

ENDINGS = (".bval", ".bvec", ".bvals", ".bvecs", "_bvals.txt", "_bvecs.txt", ".json")
_IMAGE_SUFFIX = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
# A gradient table or a BIDS sidecar is a few kB; dcm2niix's with private fields are below 1 MB.
_LARGEST = 64 << 20


def stem(path: Path) -> str:
    """A file's name without ``.nii``, ``.nii.gz``, ``.hdr``, ``.img``."""
    return _IMAGE_SUFFIX.sub("", path.name)


def sidecars_of(path: Path) -> dict[str, Path]:
    """Sidecars that exist beside an image, by their ending."""
    found = {ending: path.with_name(stem(path) + ending) for ending in ENDINGS}
    return {
        ending: file for ending, file in found.items() if file.is_file() and file.stat().st_size <= _LARGEST
    }


def sidecar_content(file: Path, content: bytes, provenance: Provenance, *, slices_refined: bool) -> bytes:
    """What to write beside the output for one sidecar of the input, `file`, that held `content`."""
    if file.suffix != ".json":
        return content
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, Mapping):
        warnings.warn(f"{file}: is no JSON object; copied as it is", SciSRWarning, stacklevel=3)
        return content
    record = dict(record)
    if slices_refined:
        record.pop("SliceTiming", None)
    record["SciSR"] = {"Steps": list(provenance.steps), "Warning": "Research use only, not for diagnosis"}
    indent = "\t" if b"\n\t" in content else 2
    return (json.dumps(record, indent=indent, ensure_ascii=False) + "\n").encode()
