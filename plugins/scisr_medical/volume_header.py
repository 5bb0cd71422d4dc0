"""The header of a volume in any of the forms that are read (NIfTI, MGH, ANALYZE 7.5), told as a NIfTI header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scisr_medical.nifti_header import NiftiHeader, field_dict, parse, recognise

NIFTI, MGH, ANALYZE = "NIfTI", "FreeSurfer MGH", "ANALYZE 7.5"


@dataclass(frozen=True)
class VolumeHeader:
    """A header that was read and checked.

    Attributes
    ----------
    form : {"NIfTI", "FreeSurfer MGH", "ANALYZE 7.5"}
    header : NiftiHeader
    notes : tuple of str
        Warnings, one line each: what was assumed.
    trailer : int
        Bytes that may follow the voxels.
    fields : mapping
        What ``scisr info`` shows.
    """

    form: str
    header: NiftiHeader
    notes: tuple[str, ...] = ()
    trailer: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``"NIfTI-1"``, ``"NIfTI-2"``, or the form."""
        return f"NIfTI-{self.header.layout.version}" if self.form == NIFTI else self.form

    def completed(self, tail: bytes) -> VolumeHeader:
        """With what stands after the voxels."""
        if self.form != MGH:
            return self
        from scisr_medical.mgh_header import describe_mgh, parse_footer, with_footer

        footer = parse_footer(tail)
        header = with_footer(self.header, footer)
        return replace(self, header=header, fields=describe_mgh(header, footer))


def parse_header(head: bytes, where: Path) -> VolumeHeader:
    """Read and check a header of any form.

    Parameters
    ----------
    head : bytes
        The first 540 bytes or more of the (inflated) file, fewer if it is shorter.

    Raises
    ------
    SciSRError
        See :func:`scisr_medical.nifti_header.parse`.
    """
    form = recognise(head)
    if form == "mgh":
        from scisr_medical.mgh_header import FOOTER, parse_mgh

        header, notes = parse_mgh(head, where)
        return VolumeHeader(MGH, header, notes, FOOTER)
    if form == "analyze":
        from scisr_medical.analyze_header import describe_analyze, parse_analyze

        header, notes = parse_analyze(head, where)
        return VolumeHeader(ANALYZE, header, notes, fields=describe_analyze(header))
    header = parse(head, where)
    return VolumeHeader(NIFTI, header, fields=field_dict(header))


def output_suffix(path: Path, head: bytes) -> str:
    """Ending of the default output: the input's own for NIfTI, else that of a single NIfTI file, gzip or not."""
    name = path.name.lower()
    packed = name.endswith((".gz", ".mgz"))
    own = next((s for s in (".nii", ".hdr", ".img") if name.removesuffix(".gz").endswith(s)), "")
    if recognise(head) in ("mgh", "analyze") or not own:
        return ".nii.gz" if packed else ".nii"
    return path.name[len(path.name) - len(own) - (3 if packed else 0) :]
