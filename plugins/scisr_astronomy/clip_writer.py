"""What the writers of clips share: which images make a clip, where blocks go, and the atomic end."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from sciSR.errors import UsageError
from sciSR.files import atomic_output, check_output, translate_os_errors
from sciSR.image import Image
from scisr_astronomy.clip import CHROMA, LUMA
from scisr_astronomy.clip_record import publish, record_path
from scisr_astronomy.clip_store import BlockStore


def check_parts(path: Path, images: Sequence[Image]) -> bool:
    """Whether images make a colour clip (luma and chroma); one image makes a monochrome one.

    Raises
    ------
    UsageError
        They make no clip.
    """
    axes = [image.axes for image in images]
    if len(images) == 1 and axes[0] in (("t", "y", "x"), ("y", "x"), ("n0", "y", "x")):
        return False
    if [image.part for image in images] == [LUMA, CHROMA] and axes == [("t", "y", "x"), ("t", "c", "y", "x")]:
        return True
    named = ", ".join(f"{image.part or 'image'} {image.axes}" for image in images)
    raise UsageError(
        f"a clip is one image with axes (t, y, x), or Y and CbCr as read from a colour clip, not {named}",
        where=path,
    )


def clip_shape(image: Image) -> tuple[int, int, int]:
    """Frames, rows, columns."""
    frames, rows, columns = image.shape if len(image.shape) == 3 else (1, *image.shape)
    return frames, rows, columns


class ClipWriter:
    """A :class:`sciSR.adapter.Writer` for clips: blocks on disk, encoded at the end into a temporary file.

    A child sets :attr:`stores`, one per image, and offers :meth:`_finish`.
    """

    def __init__(self, path: Path, images: Sequence[Image], *, overwrite: bool) -> None:
        self.path, self.overwrite = path, overwrite
        self.coloured = check_parts(path, images)
        self.stores: list[BlockStore] = []
        check_output(path, overwrite=overwrite)
        check_output(record_path(path), overwrite=overwrite)
        self._frame_axis = [len(image.shape) > 2 for image in images]
        self._stack = contextlib.ExitStack()
        try:
            self._temporary = self._stack.enter_context(atomic_output(path, overwrite=overwrite))
            with translate_os_errors(path):
                self._begin(images)
        except BaseException:
            self._abort(None)
            raise

    def _begin(self, images: Sequence[Image]) -> None:
        raise NotImplementedError

    def _finish(self) -> Mapping[str, Any]:
        """Complete the temporary file and close it; returns how values were stored."""
        raise NotImplementedError

    def _scratch(self) -> BinaryIO:
        """A nameless file beside the target, closed with the writer: nothing is left however the process ends."""
        return self._stack.enter_context(
            tempfile.TemporaryFile(prefix=".scisr-", suffix=".tmp", dir=self.path.parent)
        )

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block; see :class:`sciSR.adapter.Writer`."""
        if not self.stores:
            raise UsageError("this output is finished already", where=self.path)
        if not 0 <= part < len(self.stores):
            raise UsageError(f"there is no image {part} in this clip", where=self.path)
        index = tuple(index) if isinstance(index, tuple) else (index,)
        self.stores[part].put(index if self._frame_axis[part] else (0, *index), self._scaled(block))

    def _scaled(self, block: np.ndarray) -> np.ndarray:
        return block

    def commit(self, images: Sequence[Image]) -> Path:
        """Encode, write the record beside it, fsync and rename; returns the target."""
        if not self.stores:
            raise UsageError("this output is finished already", where=self.path)
        for store in self.stores:
            store.check_complete()
        with translate_os_errors(self.path):
            stored = self._finish()
        self.stores = []
        publish(self._temporary, self.path, images, stored, self._stack.close, overwrite=self.overwrite)
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abort(error)

    def _abort(self, error: BaseException | None) -> None:
        """Throw the temporary files away; nothing to do after commit."""
        self.stores = []
        error = _Aborted() if error is None else error
        with contextlib.suppress(_Aborted):
            self._stack.__exit__(type(error), error, error.__traceback__)

    def __del__(self) -> None:
        # A writer that was never entered nor committed leaves nothing behind either.
        with contextlib.suppress(Exception):
            self._abort(None)


class _Aborted(Exception):
    """Leaves the temporary files' context managers without a rename."""
