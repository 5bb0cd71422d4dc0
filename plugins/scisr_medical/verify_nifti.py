"""Verification of NIfTI outputs: nibabel, SimpleITK and nifti_tool as judges, none of which wrote the file.

See :class:`sciSR.verify.result.FormatVerifier`. Research use only, not for diagnosis.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from sciSR.image import Image
from sciSR.verify.result import Check, KeyChange, Pair


class NiftiVerifier:
    """What NIfTI, MGH and ANALYZE know of geometry, header and validity."""

    def geometry(self, pair: Pair) -> list[Check]:
        """Transforms, voxel sizes, field of view; then whether the content lies where they say."""
        import numpy as np

        from scisr_medical.verify_content import content_checks
        from scisr_medical.verify_nifti_files import open_volume
        from scisr_medical.verify_nifti_geometry import geometry_checks, mapping

        try:
            before = open_volume(pair.input)
        except Exception as error:
            return [
                Check(
                    "geometry", "nibabel", "skipped", f"nibabel can't read the input ({type(error).__name__})"
                )
            ]
        try:
            after = open_volume(pair.output)
        except Exception as error:
            return [
                Check(
                    "geometry", "nibabel", "failed", f"nibabel can't read the output ({type(error).__name__})"
                )
            ]
        if not all(np.isfinite(v.affine).all() and np.linalg.det(v.affine[:3, :3]) for v in (before, after)):
            return [
                Check("geometry", "affine", "failed", "nibabel finds no place in space in one of the files")
            ]
        checks = geometry_checks(pair, before, after)
        return checks + content_checks(pair.before, pair.after, mapping(before, after), slices=2)

    def metadata(self, pair: Pair) -> list[KeyChange]:
        """Header fields, extensions, sidecars."""
        from scisr_medical.verify_affine import spatial_factors
        from scisr_medical.verify_nifti_beside import extension_changes, sidecar_changes
        from scisr_medical.verify_nifti_files import open_volume
        from scisr_medical.verify_nifti_header import Context, foreign_changes, header_changes

        try:
            before, after = open_volume(pair.input), open_volume(pair.output)
        except Exception:  # said as geometry
            return []
        factors = spatial_factors(pair.factors, before.shape, after.shape)
        context = Context(before, after, factors, pair.before.kind)
        if before.is_nifti and after.is_nifti:
            changes = header_changes(context)
        else:
            changes = foreign_changes(before, after, factors)
        return [*changes, *extension_changes(context), *sidecar_changes(context)]

    def quantum(self, image: Image) -> float:
        """Step in which the values of an image are stored; 0 for floats."""
        header = image.metadata.header
        return abs(float(header.slope)) if header.stored.kind in "iub" else 0.0

    def validate(self, path: Path) -> list[Check]:
        """``nifti_tool -check_hdr`` and nibabel's own checks of headers."""
        return [_nifti_tool(Path(path)), _nibabel(Path(path))]


def _nifti_tool(path: Path) -> Check:
    """It exits 0 whatever it finds: its words count."""
    from scisr_medical.verify_programs import run

    name = "nifti_tool"
    if re.search(r"\.mg[hz](\.gz)?$", path.name, re.IGNORECASE):
        return Check("format", name, "skipped", "is no NIfTI file")
    if _is_version_2(path):
        return Check("format", name, "skipped", "nifti_tool checks headers of NIfTI-1 only")
    found = run(["nifti_tool", "-check_hdr", "-infiles", str(path.absolute())])
    if isinstance(found, str):
        return Check("format", name, "skipped", found)
    said = found[1]
    if "header IS GOOD" in said:
        return Check("format", name, "passed", "the header is good")
    lines = [
        line.strip() for line in said.replace(str(path.absolute()), path.name).splitlines() if line.strip()
    ]
    return Check("format", name, "failed", "; ".join(lines)[:300] or "says nothing")


def _is_version_2(path: Path) -> bool:
    import nibabel as nib

    from scisr_medical.verify_nifti_files import quiet

    try:
        with quiet():
            return isinstance(nib.load(path).header, nib.Nifti2Header)
    except Exception:  # said by nibabel's own check
        return False


def _nibabel(path: Path) -> Check:
    """Header checks of nibabel, without its repairs: level 30 and above is a problem, below it a warning."""
    import nibabel as nib

    from scisr_medical.verify_nifti_files import quiet

    name = "nibabel's header checks"
    try:
        with quiet():
            image = nib.load(path)
        if not isinstance(image.header, nib.analyze.AnalyzeHeader):
            return Check("format", name, "skipped", "nibabel has none for this format")
        holder = image.file_map.get("header") or image.file_map["image"]
        with holder.get_prepare_fileobj("rb") as stream:
            raw = stream.read(image.header.template_dtype.itemsize)
        reports = _reports(type(image.header)(raw, check=False))
    except Exception as error:
        return Check("format", name, "failed", f"nibabel can't read it ({type(error).__name__})")
    worst = max((level for level, _ in reports), default=0)
    words = "; ".join(text for _, text in reports)[:300]
    return Check(
        "format", name, "failed" if worst >= 30 else "warning" if worst else "passed", words or "none fails"
    )


def _reports(header: Any) -> list[tuple[int, str]]:
    """Level and words of each problem; nibabel tells them to a logger."""
    found: list[tuple[int, str]] = []
    logger = logging.Logger("nibabel's checks")
    handler = logging.Handler()
    handler.emit = lambda record: found.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger.addHandler(handler)
    header.check_fix(logger=logger, error_level=1000)
    return found


verifier = NiftiVerifier()
