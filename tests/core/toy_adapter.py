"""A complete adapter of a made-up format, as a stranger would write one; tests break it in one place each.

A file is ``TOYIMG`` + four bytes of header length + a JSON header + float32 planes in C order + a CRC32 of it all.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sciSR.adapter import Option
from sciSR.errors import UnreadableError, UsageError
from sciSR.files import atomic_output, check_output, check_regular_file
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.provenance import Provenance

MAGIC = b"TOYIMG"
FLOAT = np.dtype(np.float32)


def write_toy(path: Path, data: np.ndarray, affine: np.ndarray, provenance: Provenance | None = None) -> Path:
    """One file, whole."""
    head = {
        "shape": data.shape,
        "affine": np.asarray(affine).tolist(),
        "steps": (provenance or Provenance()).to_json(),
    }
    text = json.dumps(head).encode()
    body = MAGIC + len(text).to_bytes(4, "little") + text + data.astype("<f4").tobytes()
    path.write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
    return path


@dataclass(frozen=True)
class Lazy:
    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype = FLOAT

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(np.memmap(self.path, "<f4", "r", self.offset, self.shape)[index])


class ToyAdapter:
    name = "toy"
    suffixes = (".toy",)
    options = (Option("turn", "no use", "flag"),)

    def sniff(self, path: Path) -> bool:
        try:
            with open(path, "rb") as stream:
                return stream.read(6) == MAGIC
        except OSError:
            return False

    def read(self, path: Path, **options: Any) -> list[Image]:
        check_regular_file(path)
        body = path.read_bytes()
        if not body.startswith(MAGIC):
            raise UnreadableError("is no toy", where=path)
        if len(body) < 14 or zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            raise UnreadableError("truncated or damaged", where=path)
        size = int.from_bytes(body[6:10], "little")
        head = json.loads(body[10 : 10 + size])
        shape = tuple(head["shape"])
        return [
            Image(
                data=Lazy(path, 10 + size, shape),
                axes=("z", "y", "x"),
                spatial=("y", "x"),
                grid=AffineGrid(shape, np.array(head["affine"])),
                source=path,
                provenance=Provenance.from_json(head["steps"]),
            )
        ]

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> ToyWriter:
        return ToyWriter(path, images, overwrite)

    def describe(self, path: Path) -> Mapping[str, Any]:
        return {"parts": [image.describe() for image in self.read(path)]}

    def default_output(self, path: Path, scale: str) -> Path:
        return path.with_name(f"{path.stem}_x{scale}.toy")


class ToyWriter:
    def __init__(self, path: Path, images: Sequence[Image], overwrite: bool) -> None:
        if len(images) != 1:
            raise UsageError("a toy holds one image", where=path)
        self.path, self.overwrite = check_output(path, overwrite=overwrite), overwrite
        self.data = np.zeros(images[0].shape, np.float32)

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        self.data[index] = block

    def commit(self, images: Sequence[Image]) -> Path:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_output(self.path, overwrite=self.overwrite))
            write_toy(temporary, self.data, images[0].grid.affine, images[0].provenance)
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class CarelessAdapter(ToyAdapter):
    """Writes the target in place, in two goes."""

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> ToyWriter:
        class Careless(ToyWriter):
            def commit(self, images: Sequence[Image]) -> Path:
                whole = super().commit(images).read_bytes()
                self.path.write_bytes(whole[: len(whole) // 2])
                self.path.write_bytes(whole)
                return self.path

        return Careless(path, images, overwrite)


adapter = ToyAdapter()
careless = CarelessAdapter()
