"""What in a DICOM series may tell who the patient is, beyond the header: text and faces in the pixels, file names.

Nothing is removed here and nothing is called anonymous: what is found is said, in one line each. A derived series is
the same patient's, and keeps its patient module.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from sciSR.errors import PrivacyWarning, SciSRError
from sciSR.image import Image

_OVERLAY_ROWS = tuple(0x60000010 + (n << 17) for n in range(16))
"""(60xx,0010) of the sixteen overlay groups."""
_CLEAN_FEATURES = "113102"
"""Clean Recognizable Visual Features Option, CID 7050."""
_LOOKED_AT = 20
"""Files, one a folder, of which the names are compared with the patient's."""

_TAGS: list[Any] = [
    "BurnedInAnnotation", "RecognizableVisualFeatures", "BodyPartExamined", "AnatomicRegionSequence",
    "SharedFunctionalGroupsSequence", "ConversionType", "DeidentificationMethodCodeSequence", *_OVERLAY_ROWS,
]  # fmt: skip
_IDENTIFIERS = [
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientID", "PatientBirthDate", "AccessionNumber",
    "PatientIdentityRemoved", "SeriesInstanceUID",
]  # fmt: skip


def warn_of_pixels(image: Image) -> None:
    """Warn, one line each, of burned-in text, overlays and recognisable faces.

    The first, middle and last slice's headers are looked at; a face is guessed from what was examined and from the
    size of what is in the image (:mod:`scisr_medical.faces`).
    """
    from scisr_medical.dicom_io import read_header
    from scisr_medical.faces import warn_of_face

    slices = image.metadata.slices.ravel()
    paths = dict.fromkeys(slices[k].path for k in (0, len(slices) // 2, len(slices) - 1))
    headers = [read_header(path, _TAGS)[0] for path in paths]
    for line in (*_burned_in(headers), *_overlays(headers)):
        warnings.warn(line, PrivacyWarning, stacklevel=3)
    if image.metadata.regular:
        warn_of_face(image, body_part=_body_part(headers[0]), removed=_features_removed(headers[0]))


def _burned_in(headers: Sequence[Any]) -> list[str]:
    said = {str(h.get("BurnedInAnnotation") or "").strip().upper() for h in headers}
    if "YES" in said:
        return [
            "text is burned into the pixels (BurnedInAnnotation YES): it may name the patient, and is not removed"
        ]
    if "" in said and any(h.get("ConversionType") for h in headers):
        return [
            "a capture that does not say whether text is burned into its pixels: if so, it is not removed"
        ]
    return []


def _overlays(headers: Sequence[Any]) -> list[str]:
    if not any(tag in h for h in headers for tag in _OVERLAY_ROWS):
        return []
    return ["overlays, which may hold text, are left out of the result; text in the pixels is not looked for"]


def _body_part(header: Any) -> str:
    """BodyPartExamined, else the meaning of the anatomic region, in enhanced files too."""
    part = str(header.get("BodyPartExamined") or "")
    items = [header]
    for shared in header.get("SharedFunctionalGroupsSequence") or ():
        items += list(shared.get("FrameAnatomySequence") or ())
    for item in items:
        for region in item.get("AnatomicRegionSequence") or ():
            part = part or str(region.get("CodeMeaning") or "")
    return part


def _features_removed(header: Any) -> bool | None:
    """What the header says of recognisable features: removed, there, or nothing."""
    methods = header.get("DeidentificationMethodCodeSequence") or ()
    if any(str(item.get("CodeValue") or "") == _CLEAN_FEATURES for item in methods):
        return True
    return {"NO": True, "YES": False}.get(str(header.get("RecognizableVisualFeatures") or "").strip().upper())


def neutral_stem(path: Path, name: str) -> str:
    """A name for a result: `name`, or one that says nothing where `name` holds the patient's name or identifiers.

    Parameters
    ----------
    path : Path
        The input, a file or folder. Headers of some of its files are read.
    name : str
        The name in question, without suffix.

    Returns
    -------
    str
        `name`, or ``"series-1f2e3d4c"``, made of the SeriesInstanceUID: the same in every run.
    """
    from scisr_medical.dicom_io import read_header, translate

    for file in _one_of_each_folder(path):
        try:
            with translate(file, quote=False):
                header = read_header(file, list(_IDENTIFIERS))[0]
                removed = str(header.get("PatientIdentityRemoved") or "").strip().upper() == "YES"
                if not removed and _tells(name, header):
                    uid = str(header.get("SeriesInstanceUID") or "")
                    return f"series-{sha256(uid.encode()).hexdigest()[:8]}"
        except (OSError, SciSRError):  # said where the file is read
            continue
    return name


def _one_of_each_folder(path: Path) -> list[Path]:
    from scisr_medical.dicom_io import looks_like_dicom
    from scisr_medical.dicom_series import walk_files

    first_of: dict[Path, Path] = {}
    for file in islice(walk_files(path), 2000):
        if len(first_of) == _LOOKED_AT:
            break
        if file.parent not in first_of and file.name.upper() != "DICOMDIR" and looks_like_dicom(file):
            first_of[file.parent] = file
    return list(first_of.values())


def _tells(name: str, header: Any) -> bool:
    text = _plain(name)
    words = set(re.findall(r"[a-z]+", text))
    letters_and_digits = re.sub(r"[^a-z0-9]", "", text)
    for keyword in ("PatientName", "OtherPatientNames", "PatientBirthName"):
        for part in re.findall(r"[a-z]{3,}", _plain(str(header.get(keyword) or ""))):
            if part in words or (len(part) >= 5 and part in letters_and_digits):
                return True
    for keyword in ("PatientID", "PatientBirthDate", "AccessionNumber"):
        identifier = re.sub(r"[^a-z0-9]", "", _plain(str(header.get(keyword) or "")))
        if len(identifier) >= 4 and identifier in letters_and_digits:
            return True
    return False


def _plain(text: str) -> str:
    """Lower case without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
