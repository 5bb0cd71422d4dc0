"""Items of folders with a layout of their own: BIDS datasets, DICOM exports. The formats' plugins know them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter, FoundInput
from sciSR.errors import UnsupportedError, UsageError
from sciSR.files import is_special
from sciSR.plugins import adapters
from sciSR.workflow.pipelines.config import Bids, Dicom, Inputs
from sciSR.workflow.pipelines.finding_files import Kept, all_files, split_suffix
from sciSR.workflow.pipelines.finding_values import all_match
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.naming import safe_name, unnamed


def found_in_layout(inputs: Inputs, folder: Path, leave_out: Collection[Path]) -> list[Item]:
    """What `bids` or `dicom` of the inputs finds; what is damaged too, unless its header says it was not asked for.

    Raises
    ------
    UsageError
        Both are given, no plugin knows the layout, or the folder does not have it.
    """
    if inputs.bids is not None and inputs.dicom is not None:
        raise UsageError("inputs are a BIDS dataset or DICOM files, not both", remedy="make two pipelines")
    layout, filters = (
        ("bids", bids_filters(inputs.bids))
        if inputs.bids is not None
        else ("dicom", dicom_filters(inputs.dicom))
    )
    folder = folder.absolute()
    kept = all_files(folder, inputs.files, inputs.exclude, leave_out=leave_out)
    special = [each for each in kept if is_special(each.path)]
    files = [each.path for each in kept if each not in special]
    finder: Any = _finder(layout)
    found: Sequence[FoundInput] = finder.inputs_in(folder, files, keywords=_keywords(inputs.dicom))
    items = [
        Item(safe_name(each.name), each.files, dict(each.facts), problem=each.problem)
        for each in found
        if _wanted(each, filters)
    ]
    return items + [special_item(each) for each in special]


def special_item(each: Kept) -> Item:
    """A pipe, a socket or a device as an item that fails; it is never opened, and what it is called says nothing."""
    key = unnamed("special", each.relative)
    problem = UnsupportedError(
        "a pipe, a socket or a device, no file",
        where=key,
        remedy="take it away, or leave it out with 'exclude'",
    )
    folder, _, name = each.relative.rpartition("/")
    stem, suffix = split_suffix(name)
    return Item(key, (each.path,), {"stem": stem, "suffix": suffix, "folder": folder}, problem=problem)


def _wanted(each: FoundInput, filters: Mapping[str, Any]) -> bool:
    """Of what is damaged, only what its header still says counts."""
    told = {**each.hidden, **each.facts}
    if each.problem is not None:
        filters = {key: value for key, value in filters.items() if key in told}
    return all_match(filters, told)


def _finder(layout: str) -> Adapter:
    fitting = [a for a in adapters().values() if getattr(a, "layout", None) == layout]
    if not fitting:
        raise UsageError(f"no plugin knows folders of the layout {layout!r}", remedy="see 'scisr plugins'")
    return fitting[0]


def bids_filters(bids: Bids) -> Mapping[str, Any]:
    """What an image's facts must be; labels may stand with or without their key: ``sub-01``, ``01``."""
    named = {"datatype": bids.datatype, "suffix": bids.suffix, "sub": bids.subject, "ses": bids.session}
    filters = {key: values for key, values in {**named, **bids.entities}.items() if values}
    return {key: [str(each).removeprefix(f"{key}-") for each in values] for key, values in filters.items()}


def dicom_filters(dicom: Dicom | None) -> Mapping[str, Any]:
    """What a series' header must say."""
    if dicom is None:
        return {}
    named = {"Modality": dicom.modality, "SeriesDescription": dicom.description}
    return {**{key: values for key, values in named.items() if values}, **dicom.tags}


def _keywords(dicom: Dicom | None) -> tuple[str, ...]:
    return tuple(dicom_filters(dicom))
