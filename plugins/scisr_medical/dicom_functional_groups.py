"""Functional groups of enhanced multi-frame DICOM: what holds for all frames, and what for one (PS3.3 C.7.6.16)."""

from __future__ import annotations

from typing import Any

SHARED = "SharedFunctionalGroupsSequence"
PER_FRAME = "PerFrameFunctionalGroupsSequence"


def frame_groups(dataset: Any, frame: int) -> Any:
    """The functional groups that hold for one frame: the shared ones, with the frame's own in their place.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Of an enhanced multi-frame object.
    frame : int
        Index of the frame, from 0 (DICOM's own frame numbers begin at 1).

    Returns
    -------
    pydicom.Dataset
        Functional group sequences (PixelMeasuresSequence, PlanePositionSequence, ...), each with one item. They are
        those of `dataset`, not copies. Empty where the object has no functional groups.
    """
    from pydicom.dataset import Dataset

    merged = Dataset()
    shared, frames = dataset.get(SHARED) or [], dataset.get(PER_FRAME) or []
    for groups in (*shared[:1], *frames[frame : frame + 1]):
        for element in groups:
            # A group that stands in both places is the frame's; an empty sequence says nothing.
            if element.VR != "SQ" or len(element.value or ()):
                merged.add(element)
    return merged
