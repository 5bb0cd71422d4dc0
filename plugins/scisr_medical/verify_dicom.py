"""Verification of derived DICOM series: judged by highdicom, SimpleITK, dciodvfy and dcentvfy.

See :class:`sciSR.verify.result.FormatVerifier`. Research use only, not for diagnosis.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.verify.result import Check, KeyChange, Pair

_FILES = 12
"""Files of a series that dciodvfy looks at, spread over it: they are alike."""


class DicomVerifier:
    """What DICOM knows of geometry, identity, header and validity."""

    def geometry(self, pair: Pair) -> list[Check]:
        """Planes, spacing, order and content of the slices; identity and sources; how values are stored."""
        from scisr_medical.dicom_io import translate
        from scisr_medical.verify_content import content_checks
        from scisr_medical.verify_dicom_frames import volumes
        from scisr_medical.verify_dicom_geometry import factors_of, geometry_checks, mapping
        from scisr_medical.verify_dicom_identity import derivation_checks, identity_checks, pixel_checks

        with translate(pair.output, "can't be verified", quote=False):
            before, after = volumes(pair)
            checks = geometry_checks(pair, before, after)
            checks += content_checks(pair.before, pair.after, mapping(pair, before, after), slices=0)
            checks += identity_checks(before, after)
            checks += derivation_checks(before, after, factors_of(pair)[0])
            checks += pixel_checks(before, after)
        return checks

    def metadata(self, pair: Pair) -> list[KeyChange]:
        """Every attribute, once for the series; also those of functional groups and of the file meta information."""
        from scisr_medical.dicom_io import translate
        from scisr_medical.verify_dicom_frames import volumes
        from scisr_medical.verify_dicom_geometry import factors_of
        from scisr_medical.verify_dicom_header import header_changes

        with translate(pair.output, "can't be verified", quote=False):
            before, after = volumes(pair)
            return header_changes(before, after, factors_of(pair))

    def validate(self, path: Path) -> list[Check]:
        """``dciodvfy -new`` on some files, ``dcentvfy`` on all of a series."""
        from scisr_medical.dicom_io import looks_like_dicom
        from scisr_medical.dicom_series import walk_files

        files = [f for f in walk_files(Path(path)) if f.name.upper() != "DICOMDIR" and looks_like_dicom(f)]
        return [_dciodvfy(files), _dcentvfy(files)] if files else []

    def record(self, image: Image) -> Provenance:
        """Steps that the first image's DerivationDescription tells of."""
        from scisr_medical.dicom_io import translate
        from scisr_medical.verify_dicom_record import record_of

        with translate(image.metadata.first.path, quote=False):
            return record_of(image.metadata)

    def quantum(self, image: Image) -> float:
        """Step in which the values of an image are stored."""
        return max((abs(i.slope) for i in image.metadata.slices.flat), default=0.0)


def _dciodvfy(files: list[Path]) -> Check:
    """Errors against the standard's modules. It can crash on wild input, and then says nothing."""
    from scisr_medical.verify_programs import run

    name, lines, looked = "dciodvfy", [], files[:: max(1, -(-len(files) // _FILES))]
    for file in looked:
        found = run(["dciodvfy", "-new", str(file.absolute())])
        if isinstance(found, str):
            return Check("format", name, "skipped", found)
        lines += _errors(found[1])
    kinds = list(dict.fromkeys(lines))
    if not kinds:
        return Check("format", name, "passed", f"no error in {len(looked)} of {len(files)} files")
    shown = "; ".join(kinds[:5]) + ("; ..." if len(kinds) > 5 else "")
    return Check("format", name, "failed", f"{len(kinds)} kinds of error: {shown}"[:400], len(kinds), 0)


def _errors(said: str) -> list[str]:
    """Lines that begin with Error, without values: they may be a patient's."""
    found = [" ".join(line.split()) for line in said.splitlines() if line.startswith("Error")]
    return [re.sub(r"(value|Value|=) ?<[^>]*>|= .*$|'[^']*'", "", line).strip()[:160] for line in found]


def _dcentvfy(files: list[Path]) -> Check:
    """Whether the files of a series agree on the patient, the study, the series and the frame of reference."""
    from scisr_medical.verify_programs import run

    name = "dcentvfy"
    if len(files) < 2:
        return Check("format", name, "skipped", "one file agrees with itself")
    found: Any = run(["dcentvfy", *(str(f.absolute()) for f in files[:1000])])
    if isinstance(found, str):
        return Check("format", name, "skipped", found)
    kinds = list(
        dict.fromkeys(_attribute(line) for line in found[1].splitlines() if line.startswith("Error"))
    )
    if not kinds:
        return Check("format", name, "passed", f"{len(files)} files agree with one another")
    return Check("format", name, "failed", f"files disagree: {'; '.join(kinds[:5])}"[:400], len(kinds), 0)


def _attribute(line: str) -> str:
    tags = re.findall(r"\(0x[0-9a-f]{4},0x[0-9a-f]{4}\)", line)
    names = re.findall(r"[A-Z][A-Za-z]{5,}", line)
    return " ".join([*names[:3], *tags[:1]])


verifier = DicomVerifier()
