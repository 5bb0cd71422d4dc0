"""A source's header, read once and copied element by element into what is derived from it."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError
from scisr_medical import dicom_attributes as rules
from scisr_medical.dicom_io import read_header

_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of one word, by VR; pydicom hands these over as they lie in the file."""
_NEEDED_GROUPS = (0x0020, 0x0028)
_KEPT = 2


class Headers:
    """The headers read last; that of an enhanced file describes thousands of frames and is read once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Any] = OrderedDict()

    def __getitem__(self, path: Path) -> Any:
        if path not in self._kept:
            self._kept[path] = read_header(path)[0]
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[path]


def is_big_endian(header: Any) -> bool:
    """Whether a header was read from a big endian file."""
    return header.original_encoding[1] is False


def carried_over(
    source: Any, path: Path, keep_private: tuple[int, ...], *, big_endian: bool, nested: bool = False
) -> Any:
    """A new dataset with what is to be kept, every element decoded and so free of the source's encoding.

    Elements that can't be decoded are left out, unless they say where the image lies or what its values mean.

    Raises
    ------
    UnreadableError
        An element of these can't be decoded; names it by its tag.
    """
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    target = Dataset()
    for tag in [t for t in source.keys() if not rules.is_dropped(t, keep_private, nested=nested)]:  # noqa: SIM118
        try:
            element = source[tag]
            value = element.value
            if element.VR == "SQ":
                value = [
                    carried_over(item, path, keep_private, big_endian=big_endian, nested=True)
                    for item in value or ()
                ]
                element = DataElement(tag, "SQ", value)
            elif big_endian and element.VR in _WORDS and isinstance(value, bytes):
                words = np.frombuffer(value, dtype=f">u{_WORDS[element.VR]}")
                swapped = words.astype(words.dtype.newbyteorder("<")).tobytes()
                element = DataElement(tag, element.VR, swapped)
            else:
                element = copy(element)  # setting a value in the copy must not change the source's header
            target.add(element)
        except Exception as error:
            if tag.group in _NEEDED_GROUPS:
                raise UnreadableError(
                    f"element {tag} can't be decoded: {str(error)[:80]}", where=path
                ) from error
    return target


def text(header: Any, keyword: str) -> str:
    """The value as text; empty where there is none, or none that can be decoded."""
    try:
        return str(header.get(keyword) or "")
    except Exception:  # undecodable text is no reason to refuse an image
        return ""
