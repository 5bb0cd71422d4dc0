"""One OME-Zarr that several processes fill, each its own chunks; kept where a run is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.files import check_output, put_in_place, translate_os_errors
from sciSR.image import Image
from scisr_zarr.groups import store
from scisr_zarr.reader import zarr_module
from scisr_zarr.writer import OmeZarrWriter


class SharedOmeZarrWriter(OmeZarrWriter):
    """A writer whose hidden folder has a name of its own and outlives a killed run."""

    def __init__(self, path: Path, images: Sequence[Image], *, temporary: Path, **how: Any) -> None:
        self._temporary, self._overwrite = Path(temporary), bool(how.get("overwrite"))
        super().__init__(path, images, **how)

    def _open(self, overwrite: bool) -> Path:
        check_output(self.path, overwrite=overwrite)
        with translate_os_errors(self.path):
            self._temporary.mkdir(exist_ok=True)
        return self._temporary

    def _level_0(self) -> Any:
        if (self._temporary / "0").is_dir():
            with contextlib.suppress(Exception):  # one that was only begun is made again
                array = zarr_module().open_array(str(self._temporary / "0"), mode="r+")
                if tuple(array.shape) == self._image.shape and tuple(array.chunks) == tuple(self._chunks):
                    return array
        return super()._level_0()

    def ticket(self, part: int) -> Mapping[str, Any]:
        """What another process needs to write pixels: JSON-ready."""
        return {"path": str(self._temporary / "0"), "part": part}

    def commit(self, images: Sequence[Image]) -> Path:
        """As of one process; all pixels were written elsewhere."""
        self._missing = 0
        for each in self._temporary.iterdir():  # of a commit that was killed
            if each.name not in ("0", "zarr.json", ".zgroup", ".zattrs"):
                shutil.rmtree(each)
        super().commit(images)
        put_in_place(self._temporary, self.path, overwrite=self._overwrite)
        return self.path

    def discard(self) -> None:
        """Throw the hidden folder away."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _abort(self) -> None:
        """The folder stays, for the run that goes on with it."""


class ZarrStore:
    """Writes blocks into the array of a ticket."""

    def __init__(self, ticket: Mapping[str, Any]) -> None:
        self._path = Path(ticket["path"])
        with translate_os_errors(self._path):
            self._array = zarr_module().open_array(str(self._path), mode="r+")
        self._chunks: set[Path] = set()

    def put(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block at ``index`` (one int or slice per axis)."""
        with translate_os_errors(self._path):
            self._chunks |= store(self._array, index, block, self._path)

    def __enter__(self) -> ZarrStore:
        return self

    def __exit__(self, *error: object) -> None:
        """Put the chunks on disk for good where all went well."""
        if error[0] is not None:
            return
        with translate_os_errors(self._path):
            for chunk in sorted(self._chunks):
                with contextlib.suppress(FileNotFoundError):  # one of zeros only is not written
                    handle = os.open(self._path / chunk, os.O_RDONLY)
                    try:
                        os.fsync(handle)
                    finally:
                        os.close(handle)
