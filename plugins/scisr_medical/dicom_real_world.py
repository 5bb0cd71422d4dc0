"""Real world value mappings, rewritten for values that are stored in another way: quantities keep their meaning."""

from __future__ import annotations

from typing import Any

from scisr_medical.dicom_encoding import Encoding
from scisr_medical.dicom_instance import Instance


def remapped(mappings: Any, source: Instance, encoding: Encoding) -> list[Any]:
    """The linear ones of a source's mappings, for stored values of the result; those with a table are left out.

    ``real = a stored + b`` with ``value = s stored + i`` on both sides becomes
    ``real = (a/s)(s' stored' + i' - i) + b``.

    Parameters
    ----------
    mappings : sequence of pydicom.Dataset
        Items of RealWorldValueMappingSequence; they are changed.
    source : Instance
        How the source was stored.
    encoding : Encoding
        How the result is stored.
    """
    kept = []
    for item in mappings or ():
        slope, intercept = item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept")
        if slope is None or intercept is None:
            continue
        per_value = float(slope) / source.slope
        item.RealWorldValueSlope = per_value * encoding.slope
        item.RealWorldValueIntercept = float(intercept) + per_value * (encoding.intercept - source.intercept)
        vr = "SS" if encoding.signed else "US"
        for keyword, value in zip(("First", "Last"), encoding.limits, strict=True):
            item.add_new(f"RealWorldValue{keyword}ValueMapped", vr, value)
            double = f"DoubleFloatRealWorldValue{keyword}ValueMapped"
            if double in item:
                delattr(item, double)
        kept.append(item)
    return kept


def labelled(mappings: Any) -> list[Any]:
    """The items, with the label and the explanation that each must have (PS3.3 C.7.6.16.2.11) and scanners forget."""
    for item in mappings or ():
        for keyword in ("LUTLabel", "LUTExplanation"):
            if not item.get(keyword):
                setattr(item, keyword, "UNSPECIFIED")
    return list(mappings or ())
