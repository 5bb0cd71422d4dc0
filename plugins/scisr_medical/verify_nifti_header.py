"""What became of each field of a NIfTI header, and the rule by which it may have changed.

Rules after nifti1.h (https://nifti.nimh.nih.gov). Free text is never shown: it may name a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.verify.result import Fate, KeyChange
from scisr_medical.verify_affine import local_matrix
from scisr_medical.verify_nifti_files import SECONDS, Volume

HIDDEN = "(not shown)"
_TEXT = ("descrip", "aux_file", "db_name", "data_type", "intent_name")
_LAYOUT = {
    "sizeof_hdr": "the header's version", "magic": "the file's form", "vox_offset": "voxels begin behind the header",
    "data_type": "unused in NIfTI", "db_name": "unused in NIfTI", "extents": "unused in NIfTI",
    "session_error": "unused in NIfTI", "regular": "unused in NIfTI", "glmax": "unused in NIfTI",
    "glmin": "unused in NIfTI", "unused_str": "unused",
}  # fmt: skip
_SLICES = ("slice_start", "slice_end", "slice_duration", "slice_code")
_LABEL_INTENT = 1002
_RELATIVE = 1e-4
Verdict = tuple[str, bool]
"""The rule, and whether the value follows it."""


@dataclass(frozen=True, eq=False)
class Context:
    """Two headers and what lies between them.

    Attributes
    ----------
    before, after : Volume
    factors : tuple of float
        Along the axes of space.
    kind : str
        What the voxels are: ``"labels"`` and others.
    """

    before: Volume
    after: Volume
    factors: tuple[float, ...]
    kind: str

    @property
    def unit(self) -> float:
        """Units of length of the output in one of the input."""
        return self.before.unit / self.after.unit

    @property
    def refined(self) -> list[int]:
        return [axis for axis, factor in enumerate(self.factors) if factor != 1]

    def finer(self, name: str) -> np.ndarray | None:
        """The input's transform on the output's grid, in the output's unit of length."""
        found = self.before.transform(name)
        return None if found is None else self._told(found @ local_matrix(self.factors))

    def now(self, name: str) -> np.ndarray | None:
        found = self.after.transform(name)
        return None if found is None else self._told(found)

    def _told(self, affine: np.ndarray) -> np.ndarray:
        out = affine.copy()
        out[:3] /= self.after.unit
        return out


def header_changes(context: Context) -> list[KeyChange]:
    """Every field of either header, in the order of the input's."""
    before, after = context.before.raw, context.after.raw
    changes = []
    for name in dict.fromkeys([*before.dtype.names, *after.dtype.names]):
        if name not in before.dtype.names or name not in after.dtype.names:
            there = name in after.dtype.names
            fate: Fate = "added" if there else "lost"
            value = _text(name, (after if there else before)[name])
            texts = {"after": value} if there else {"before": value}
            changes.append(KeyChange(name, fate, rule="NIfTI-1 and NIfTI-2 differ in it", **texts))
        elif name in ("dim", "pixdim"):
            changes += [_entry(context, name, k) for k in range(8)]
        else:
            changes.append(_field(context, name))
    return changes


def _entry(context: Context, name: str, k: int) -> KeyChange:
    old, new = context.before.raw[name][k], context.after.raw[name][k]
    rule, allowed = (_dim if name == "dim" else _pixdim)(context, k, float(old), float(new))
    return _change(f"{name}[{k}]", old, new, rule, allowed)


def _field(context: Context, name: str) -> KeyChange:
    old, new = context.before.raw[name], context.after.raw[name]
    rule = _RULES.get(name, _kept)
    if name in _LAYOUT:
        words, allowed = _LAYOUT[name], True
    else:
        words, allowed = rule(context, name, old, new)
    return _change(name, old, new, words, allowed)


def _change(name: str, old: Any, new: Any, rule: str, allowed: bool) -> KeyChange:
    """Fate by the values: a field of zeros, or of no text, says nothing."""
    fate: Fate = "changed"
    if _same(old, new):
        fate = "kept"
    elif _empty(old):
        fate = "added"
    elif _empty(new):
        fate = "lost"
    if fate == "kept" and allowed:
        rule = ""
    return KeyChange(name, fate, _text(name, old), _text(name, new), rule, bool(allowed))


def _same(old: Any, new: Any) -> bool:
    one, two = np.asarray(old), np.asarray(new)
    if one.dtype.kind in "SV":
        return bytes(one.tobytes()).rstrip(b"\0") == bytes(two.tobytes()).rstrip(b"\0")
    return bool(np.array_equal(one, two, equal_nan=True))


def _empty(value: Any) -> bool:
    array = np.asarray(value)
    if array.dtype.kind in "SV":
        return not array.tobytes().strip(b"\0 ")
    return not np.nan_to_num(array).any()


def _text(name: str, value: Any) -> str:
    array = np.asarray(value)
    if array.dtype.kind in "SV":
        raw = array.tobytes().rstrip(b"\0")
        if name in _TEXT:
            return HIDDEN if raw else ""
        return raw.decode("ascii", "replace").replace("\r", "\\r").replace("\n", "\\n").replace("\x1a", "")
    numbers = [f"{float(v):.9g}" for v in array.ravel()]
    return numbers[0] if len(numbers) == 1 else f"[{', '.join(numbers)}]"


def _close(old: Any, new: Any, *, scale: float = 0.0) -> bool:
    old, new = np.asarray(old, np.float64), np.asarray(new, np.float64)
    return bool(np.allclose(old, new, rtol=_RELATIVE, atol=1e-6 + _RELATIVE * scale, equal_nan=True))


def _dim(context: Context, k: int, old: float, new: float) -> Verdict:
    shapes = context.before.shape, context.after.shape
    if k == 0:
        trailing = all(n == 1 for shape in shapes for n in shape[min(map(len, shapes)) :])
        return ("axes of length 1 at the end" if old != new else ""), old == new or trailing
    if k <= len(context.factors):
        factor = context.factors[k - 1]
        return (f"{factor:.6g} voxels for each" if factor != 1 else ""), int(old * factor + 1e-6) == new
    used = k <= max(len(s) for s in shapes)
    return ("" if used else "beyond the axes that the data have"), old == new or not used or {old, new} == {
        0,
        1,
    }


def _pixdim(context: Context, k: int, old: float, new: float) -> Verdict:
    if k == 0:
        if old not in (-1.0, 0.0, 1.0):
            return "an illegal qfac is repaired", new in (-1.0, 1.0)
        return "0 means 1", (old or 1.0) == (new or 1.0) or context.after.code("qform") <= 0
    if k <= len(context.factors):
        size = old
        rule = f"voxels are {context.factors[k - 1]:.6g} times smaller" if context.factors[k - 1] != 1 else ""
        if not (np.isfinite(old) and old > 0):
            size = float(np.linalg.norm(context.before.affine[:3, k - 1]) / context.before.unit)
            rule = "what is no size is repaired from the sform"
        return rule, _close(size / context.factors[k - 1] * context.unit, new)
    if k > max(len(context.before.shape), len(context.after.shape)):
        return "beyond the axes that the data have", True
    seconds = [SECONDS.get(int(v.raw["xyzt_units"]) & 0x38, 1.0) for v in (context.before, context.after)]
    scale = seconds[0] / seconds[1] if k == 4 else 1.0
    return ("the same in another unit of time" if scale != 1 else ""), _close(old * scale, new)


def _kept(context: Context, name: str, old: Any, new: Any) -> Verdict:
    return "", _same(old, new)


def _code(context: Context, name: str, old: Any, new: Any) -> Verdict:
    """Kept; a transform that was not there may be written where it says what the other one says."""
    if _same(old, new):
        return "", True
    own, other = name.removesuffix("_code"), "sform" if name == "qform_code" else "qform"
    found = context.now(own)
    if int(old) > 0 or found is None:
        return "", False
    known = context.finer(other)
    expected = (
        known if known is not None else context._told(context.before.affine @ local_matrix(context.factors))
    )
    code = context.before.code(other)
    return f"the same as the {other}", _close(expected, found, scale=1.0) and (code in (0, int(new)))


def _quaternion(context: Context, name: str, old: Any, new: Any) -> Verdict:
    if _same(old, new):
        return "", True
    if context.after.code("qform") <= 0:
        return "without a meaning: there is no qform", context.before.code("qform") <= 0
    one, two = context.finer("qform"), context.now("qform")
    if one is None and context.before.code("qform") <= 0:
        return "of the qform that is written anew", True
    same = (
        one is not None
        and two is not None
        and _close(one[:3, :3], two[:3, :3], scale=float(np.abs(two).max()))
    )
    return "the same rotation", same


def _offset(context: Context, name: str, old: Any, new: Any) -> Verdict:
    if context.after.code("qform") <= 0:
        return "without a meaning: there is no qform", _same(old, new) or context.before.code("qform") <= 0
    axis = "xyz".index(name[-1])
    expected, found = context.finer("qform"), context.now("qform")
    if expected is None:
        return "of the qform that is written anew", found is not None
    return _moved(context), _within(context, expected[axis, 3], new)


def _srow(context: Context, name: str, old: Any, new: Any) -> Verdict:
    if context.after.code("sform") <= 0:
        return "without a meaning: there is no sform", _same(old, new) or context.before.code("sform") <= 0
    expected = context.finer("sform")
    if expected is None:
        return "of the sform that is written anew", context.now("sform") is not None
    row = expected["xyz".index(name[-1])]
    flat = len(context.after.shape) == 2  # a third column that nothing depends on
    keep = [0, 1, 3] if flat else [0, 1, 2, 3]
    fine = _within(context, row[3], new[3]) and _close(row[keep[:-1]], np.asarray(new)[keep[:-1]], scale=1.0)
    return _moved(context), fine


def _moved(context: Context) -> str:
    return "the centre of the first voxel moved, the edge did not" if context.refined else ""


def _within(context: Context, expected: float, found: Any) -> bool:
    voxel = float(np.linalg.norm(context.after.affine[:3, :3], axis=0).min() / context.after.unit)
    return abs(float(found) - float(expected)) <= 0.01 * voxel + 1e-6 * abs(float(expected))


def _units(context: Context, name: str, old: Any, new: Any) -> Verdict:
    old, new = int(old), int(new)
    if old == new:
        return "", True
    length = (old & 7) == (new & 7) or (new & 7) in (1, 2, 3)
    time = (old & 0x38) == (new & 0x38) or (len(context.after.shape) < 4 and (old & 0x38) == 0)
    time = time or ((old & 0x38) in (8, 16, 24) and (new & 0x38) in (8, 16, 24)) or (old & 0x38) == 0
    return "the same lengths and times, told in other units", length and time


def _scaling(context: Context, name: str, old: Any, new: Any) -> Verdict:
    if _same(old, new):
        return "", True
    slope = float(context.after.raw["scl_slope"])
    return "stored values are scaled otherwise; what they mean is compared by content", np.isfinite(slope)


def _type(context: Context, name: str, old: Any, new: Any) -> Verdict:
    if _same(old, new):
        return "", True
    one, two = (np.dtype(v.image.get_data_dtype()) for v in (context.before, context.after))
    if context.kind == "labels":
        return "labels stay whole numbers", two.kind in "iu" and two.itemsize >= one.itemsize
    if two.kind == "f":
        return f"values are stored as {two.name}", one.kind in "iufc"
    if two.kind == "c":
        return f"values are stored as {two.name}", one.kind == "c"
    scaled = float(context.after.raw["scl_slope"]) not in (0.0, 1.0)
    return "scaled whole numbers", scaled or (one.kind in "iu" and two.itemsize >= one.itemsize)


def _acquired_slices(context: Context, name: str, old: Any, new: Any) -> Verdict:
    named = (int(context.before.raw["dim_info"]) >> 4 & 3) - 1
    sizes = np.linalg.norm(context.before.affine[:3, : len(context.factors)], axis=0)
    axes = {named} if named >= 0 else {2, int(np.argmax(sizes))}
    if not axes & set(context.refined):
        return "", _same(old, new)
    gone = "the slices are no longer those that were acquired"
    return gone, _empty(new) or (named < 0 and 2 not in context.refined and _same(old, new))


def _display(context: Context, name: str, old: Any, new: Any) -> Verdict:
    if context.before.image.get_data_dtype().kind == "c" and _empty(new):
        return "was the display range of complex values", True
    return "", _same(old, new)


def _intent(context: Context, name: str, old: Any, new: Any) -> Verdict:
    labels = context.kind == "labels" and int(old) == 0 and int(new) == _LABEL_INTENT
    return ("labels, by name or by wish" if labels else ""), _same(old, new) or labels


def _description(context: Context, name: str, old: Any, new: Any) -> Verdict:
    one, two = (np.asarray(v).tobytes().rstrip(b"\0") for v in (old, new))
    if one and two.startswith(one) and one != two:
        return "what was done is appended", True
    if one == two:
        return "", True
    return "names the program that wrote the file", bool(two)


_RULES: dict[str, Callable[[Context, str, Any, Any], Verdict]] = {
    "qform_code": _code, "sform_code": _code, "xyzt_units": _units, "descrip": _description,
    "scl_slope": _scaling, "scl_inter": _scaling, "datatype": _type, "bitpix": _type,
    "cal_min": _display, "cal_max": _display, "intent_code": _intent,
    **dict.fromkeys(("quatern_b", "quatern_c", "quatern_d"), _quaternion),
    **dict.fromkeys(("qoffset_x", "qoffset_y", "qoffset_z"), _offset),
    **dict.fromkeys(("srow_x", "srow_y", "srow_z"), _srow),
    **dict.fromkeys(_SLICES, _acquired_slices),
}  # fmt: skip


def foreign_changes(before: Volume, after: Volume, factors: Sequence[float]) -> list[KeyChange]:
    """Fields of an MGH or ANALYZE header, whatever became of them in NIfTI or in the same format.

    What NIfTI says in its own fields is checked as geometry and content; what it has no field for is lost.
    """
    told = {
        "dims": "dim", "dim": "dim", "delta": "pixdim", "pixdim": "pixdim", "Mdc": "sform", "Pxyz_c": "sform",
        "goodRASFlag": "sform_code", "type": "datatype", "datatype": "datatype", "bitpix": "bitpix", "tr": "pixdim[4]",
        "vox_offset": "vox_offset", "funused1": "scl_slope", "funused2": "scl_inter", "scl_slope": "scl_slope",
        "cal_max": "cal_max", "cal_min": "cal_min", "originator": "sform", "origin": "sform", "descrip": "descrip",
    }  # fmt: skip
    changes, names = [], set(after.raw.dtype.names)
    for name in before.raw.dtype.names:
        old = before.raw[name]
        text = HIDDEN if np.asarray(old).dtype.kind in "SV" and not _empty(old) else _text(name, old)
        if not after.is_nifti and name in names:
            same = _same(old, after.raw[name])
            new = HIDDEN if text == HIDDEN else _text(name, after.raw[name])
            rule = "" if same else "follows the finer grid; checked as geometry" if name in told else ""
            changes.append(
                KeyChange(name, "kept" if same else "changed", text, new, rule, same or name in told)
            )
        elif name in told:
            changes.append(KeyChange(name, "changed", text, "", f"told by {told[name]} in NIfTI"))
        elif not _empty(old):
            changes.append(KeyChange(name, "lost", text, "", "NIfTI has no field for it"))
    return changes
