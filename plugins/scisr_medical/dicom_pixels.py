"""Pixels of a stack of DICOM files, decoded slice by slice when asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError
from sciSR.views import full_index
from scisr_medical.dicom_enhanced_pixels import FrameFiles, check_size
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_io import open_dicom, translate
from scisr_medical.dicom_mosaic import Mosaics

_CACHED_SLICES = 8
_RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."


def decode(instance: Instance, files: FrameFiles | None = None, mosaics: Mosaics | None = None) -> np.ndarray:
    """Stored values of one image or frame, shape (rows, columns), int64-safe integers of the file's own width and sign.

    Bits outside [HighBit - BitsStored + 1, HighBit] are not part of the value (overlays lived there), so they are
    cut off and the sign is extended from HighBit, as PS3.5 section 8.1.1 defines.

    Parameters
    ----------
    instance : Instance
    files : FrameFiles, optional
        Keeps multi-frame files open between frames.
    mosaics : Mosaics, optional
        Keeps mosaics between their slices.

    Raises
    ------
    UnreadableError
        The pixel data can't be decoded; names the file, and the frame.
    """
    remedy = "decompress it first, e.g. with dcmdjpeg, if other viewers show it"
    where = instance.path if instance.frame is None else f"{instance.path}[frame {instance.frame + 1}]"
    with translate(where, "its pixel data can't be decoded", remedy=remedy if _is_jpeg(instance) else None):
        if instance.tile is not None:
            stored = (mosaics or Mosaics()).cut(instance, _decode_file)
        else:
            stored = (
                _decode_file(instance) if instance.frame is None else (files or FrameFiles()).read(instance)
            )
    if stored.shape != instance.shape:
        raise UnreadableError(
            f"its pixel data decode to shape {stored.shape}, the header says {instance.shape}", where=where
        )
    return _keep_padding(stored, _mask_bits(stored, instance), instance)


def _decode_file(instance: Instance) -> np.ndarray:
    """The one image of a classic file, as stored."""
    import pydicom
    from pydicom.encaps import get_frame
    from pydicom.pixels import pixel_array

    with open_dicom(instance.path) as stream:
        dataset = pydicom.dcmread(stream, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = (
                pydicom.uid.ExplicitVRBigEndian
                if not little
                else pydicom.uid.ImplicitVRLittleEndian
                if implicit
                else pydicom.uid.ExplicitVRLittleEndian
            )
        if _is_jpeg(instance):
            check_size(get_frame(dataset.PixelData, 0, number_of_frames=1), instance)
        # pydicom would cut unused bits without looking at HighBit, and padding values with them.
        # Its own RLE decoder checks what it reads; pylibjpeg's takes damaged headers for good ones.
        plugin = "pydicom" if instance.syntax == _RLE else ""
        return np.asarray(pixel_array(dataset, raw=True, correct_unused_bits=False, decoding_plugin=plugin))


def _is_jpeg(instance: Instance) -> bool:
    return instance.syntax.startswith(_JPEG)


def _keep_padding(stored: np.ndarray, value: np.ndarray, instance: Instance) -> np.ndarray:
    """Padding may lie outside what BitsStored can hold (-2000 in 12 bits): there it is found before bits are cut."""
    if instance.padding is None or instance.bits_stored == instance.bits_allocated:
        return value
    low, high = instance.padding
    top = 1 << (instance.bits_stored - instance.signed)
    if low >= (-top if instance.signed else 0) and high < top:
        return value
    padded = (stored >= low) & (stored <= high)
    return np.where(padded, stored, value)


def _mask_bits(stored: np.ndarray, instance: Instance) -> np.ndarray:
    if instance.bits_stored == 8 * stored.dtype.itemsize:
        return stored
    width = 8 * stored.dtype.itemsize
    kind = np.dtype(f"{'i' if instance.signed else 'u'}{stored.dtype.itemsize}")
    # JPEG decoders return the value itself, wherever HighBit was before it was compressed.
    high = instance.bits_stored - 1 if _is_jpeg(instance) else instance.high_bit
    up = width - 1 - high
    bits = stored.astype(np.dtype(f"u{stored.dtype.itemsize}"), copy=False) << np.uint8(up)
    return bits.astype(kind, copy=False) >> np.uint8(width - instance.bits_stored).astype(kind)


class SliceCache:
    """Decoded slices of a stack, the last few kept. Shared by the values and the mask of one image."""

    def __init__(self, slices: np.ndarray) -> None:
        self.slices, self._files, self._mosaics = slices, FrameFiles(), Mosaics()
        self._kept: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()

    def __getitem__(self, where: tuple[int, ...]) -> np.ndarray:
        if where not in self._kept:
            self._kept[where] = decode(self.slices[where], self._files, self._mosaics)
            while len(self._kept) > _CACHED_SLICES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(where)
        return self._kept[where]


class _StackArray:
    """What values and mask share: shape (slices, rows, columns) or (slices, rows, columns, volumes)."""

    dtype: np.dtype

    def __init__(self, cache: SliceCache) -> None:
        self.cache = cache
        outer, plane = cache.slices.shape, cache.slices.flat[0].shape
        self.shape = (outer[0], *plane, *outer[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _plane(self, stored: np.ndarray, instance: Instance) -> np.ndarray:
        raise NotImplementedError

    def __getitem__(self, index: Any) -> np.ndarray:
        index = full_index(index, self.ndim)
        outer = [_positions(index[a], self.shape[a]) for a in (0, *range(3, self.ndim))]
        rows, columns = index[1], index[2]
        shape = np.empty(self.shape[1:3], dtype=bool)[rows, columns].shape
        out = np.empty((*(len(o) for o in outer), *shape), dtype=self.dtype)
        for at in np.ndindex(*out.shape[: len(outer)]):
            where = tuple(int(o[k]) for o, k in zip(outer, at, strict=True))
            out[at] = self._plane(self.cache[where], self.cache.slices[where])[rows, columns]
        if self.ndim == 4:  # (slices, volumes, rows, columns) -> (slices, rows, columns, volumes)
            out = np.moveaxis(out, 1, -1)
            if not isinstance(index[3], slice):
                out = out[..., 0]
        return out if isinstance(index[0], slice) else out[0]


def _positions(entry: Any, size: int) -> Sequence[int]:
    return range(*entry.indices(size)) if isinstance(entry, slice) else [range(size)[int(entry)]]


class StackValues(_StackArray):
    """Physical values: ``stored * RescaleSlope + RescaleIntercept``, with each slice's own pair.

    float32 holds 16-bit integers and their usual rescaling exactly; 32-bit files give float64.
    """

    def __init__(self, cache: SliceCache) -> None:
        super().__init__(cache)
        wide = any(i.bits_stored > 16 for i in cache.slices.flat)
        self.dtype = np.dtype(np.float64 if wide else np.float32)

    @property
    def ends(self) -> tuple[float, ...]:
        """The physical values of the lowest and highest stored ones, which a derived series can't exceed either.

        Empty where slices differ in them.
        """
        told = {(i.signed, i.bits_stored, i.slope, i.intercept) for i in self.cache.slices.flat}
        if len(told) != 1:
            return ()
        signed, bits, slope, intercept = told.pop()
        low = -(1 << (bits - 1)) if signed else 0
        return tuple(float(stored * slope + intercept) for stored in (low, low + (1 << bits) - 1))

    def _plane(self, stored: np.ndarray, instance: Instance) -> np.ndarray:
        if instance.slope == 1 and instance.intercept == 0:
            return stored.astype(self.dtype)
        return (stored.astype(np.float64) * instance.slope + instance.intercept).astype(self.dtype)


class PaddingMask(_StackArray):
    """True where a stored value means "outside the image" (PixelPaddingValue to PixelPaddingRangeLimit)."""

    dtype = np.dtype(bool)

    def _plane(self, stored: np.ndarray, instance: Instance) -> np.ndarray:
        if instance.padding is None:
            return np.zeros(stored.shape, dtype=bool)
        low, high = instance.padding
        return (stored >= low) & (stored <= high)


def stack_arrays(slices: np.ndarray) -> tuple[StackValues, PaddingMask | None]:
    """Values and mask of a stack; no mask where no file declares padding."""
    cache = SliceCache(slices)
    padded = any(i.padding is not None for i in slices.flat)
    return StackValues(cache), PaddingMask(cache) if padded else None
