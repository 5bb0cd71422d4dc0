"""Writes NIfTI: blocks into a nameless scratch file, then header and voxels at once, atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from sciSR.errors import UnreadableError, UsageError
from sciSR.files import atomic_output, check_output, translate_os_errors
from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.views import full_index
from scisr_medical.nifti_adapter import header_and_data_paths
from scisr_medical.nifti_deviation import DeviationFile
from scisr_medical.nifti_gzip import blocks_of, write_gzip
from scisr_medical.nifti_output import OutputPlan, encode, header_bytes, plan_output
from scisr_medical.nifti_sidecars import sidecar_content, stem

_CHUNK = 4 << 20


class NiftiWriter:
    """One NIfTI file, or a pair, with its sidecars; a :class:`sciSR.adapter.Writer`.

    Voxels go to a scratch file in the target's folder that has no name, so that nothing is left however the
    process ends. Its space is reserved at the start: a full disk is found out before hours of work. At
    :meth:`commit` the final provenance is known; header, extensions and voxels are then written (compressed with a
    fixed time stamp for ``.gz``: same input, same bytes) to a temporary file that is renamed onto the target.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, or either half of a pair: ``.hdr``, ``.img`` (and with ``.gz``).
    images : sequence of Image
        Exactly one.
    overwrite : bool
    dtype : {"float32", "keep"}
        ``"keep"``: the input's stored type and scaling, ``round((x - inter)/slope)``, clipped to its range. Label
        maps are always kept.
    uncertainty : bool
        Also write the image's standard deviation: see :mod:`scisr_medical.nifti_deviation`.

    Raises
    ------
    UsageError
        The output exists, or can't hold these images.
    """

    def __init__(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        overwrite: bool,
        dtype: str,
        uncertainty: bool = False,
    ) -> None:
        self.path = path
        self.uncertainty_files: tuple[Path, ...] = ()
        self._scratch: BinaryIO | None = None
        self._deviation: DeviationFile | None = None
        self.overwrite = overwrite
        self.plan: OutputPlan = plan_output(path, images, dtype)
        self.head_path, self.data_path = self._targets()
        sidecars = self._sidecar_targets(images[0].source)
        for target in dict.fromkeys([self.head_path, self.data_path, *sidecars]):
            check_output(target, overwrite=overwrite)
        # Read now: hours later they may be gone, and the result with them.
        self._sidecars = {target: (file, _content(file)) for target, file in sidecars.items()}
        if uncertainty and images[0].uncertainty is not None:
            self._deviation = DeviationFile(path, images[0], overwrite=overwrite)
        with translate_os_errors(path):
            self._scratch = tempfile.TemporaryFile(prefix=".scisr-", suffix=".tmp", dir=path.parent)  # noqa: SIM115
            try:
                _reserve(self._scratch, self.plan.voxel_bytes)
            except BaseException:
                self._close()
                raise

    def _targets(self) -> tuple[Path, Path]:
        if self.plan.layout.single:
            return self.path, self.path
        head, data = header_and_data_paths(self.path)
        ending = ".gz" if self.path.name.lower().endswith(".gz") else ""
        # A new pair is both plain or both gzip, whatever stands there already.
        return head.with_name(f"{stem(head)}.hdr{ending}"), data.with_name(f"{stem(data)}.img{ending}")

    def _sidecar_targets(self, source: Path | None) -> dict[Path, Path]:
        """Source of each sidecar by its target.

        ``a.nii.gz`` to ``a.nii`` beside it has its sidecars already: they are the input's and stay as they are.
        """
        if self.plan.metadata is None:
            return {}
        base = stem(self.path)
        pairs = {
            self.path.with_name(base + ending): file for ending, file in self.plan.metadata.sidecars.items()
        }
        if source is not None and _same_file(self.path, source):
            return pairs
        return {target: file for target, file in pairs.items() if not _same_file(target, file)}

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store physical values at `index`; see :class:`sciSR.adapter.Writer`."""
        if part != 0:
            raise UsageError(f"a NIfTI file holds one image; there is no part {part}", where=self.path)
        if self._scratch is None:
            raise UsageError("this output is finished already", where=self.path)
        stored = encode(np.asarray(block), self.plan, self.path)
        with translate_os_errors(self.path):
            # Mapped anew for each block: its dirty pages are then the system's, not this process's memory.
            voxels = np.memmap(self._scratch, self.plan.stored, "r+", 0, self.plan.shape, "F")
            self.plan.in_image_order(voxels)[full_index(index, len(self.plan.shape))] = stored

    def commit(self, images: Sequence[Image]) -> Path:
        """Write header, extensions, voxels and sidecars; returns the path that was asked for."""
        if self._scratch is None:
            raise UsageError("this output is finished already", where=self.path)
        provenance = images[0].provenance
        header = header_bytes(self.plan, provenance)
        try:
            with _old_header_aside(self.head_path, self.data_path), contextlib.ExitStack() as stack:
                # Left in reverse order: sidecars appear first, the header of a pair last.
                head = stack.enter_context(atomic_output(self.head_path, overwrite=self.overwrite))
                self._scratch.seek(0)
                if self.data_path == self.head_path:
                    _write(head, self.head_path, header, self._scratch)
                else:
                    data = stack.enter_context(atomic_output(self.data_path, overwrite=self.overwrite))
                    _write(head, self.head_path, header, None)
                    _write(data, self.data_path, b"", self._scratch)
                if self._deviation is not None:
                    self._write_deviation(stack, images[0])
                for target, (file, content) in self._sidecars.items():
                    beside = stack.enter_context(atomic_output(target, overwrite=self.overwrite))
                    beside.write_bytes(self._sidecar(file, content, provenance))
        finally:
            self._close()
        return self.path

    def _write_deviation(self, stack: contextlib.ExitStack, image: Image) -> None:
        assert self._deviation is not None
        beside = stack.enter_context(atomic_output(self._deviation.path, overwrite=self.overwrite))
        _write(beside, self._deviation.path, self._deviation.fill(image), self._deviation.voxels)
        self.uncertainty_files = (self._deviation.path,)

    def _sidecar(self, file: Path, content: bytes, provenance: Provenance) -> bytes:
        assert self.plan.metadata is not None  # only what was read from a file has sidecars
        return sidecar_content(
            file,
            content,
            provenance,
            slice_spacing=self.plan.slice_spacing,
            shapes=(self.plan.metadata.header.shape, self.plan.shape),
        )

    def _close(self) -> None:
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None
        if self._deviation is not None:
            self._deviation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __del__(self) -> None:
        # A writer that was never entered nor committed still gives its disk space back.
        with contextlib.suppress(Exception):
            self._close()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=file) from error


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _reserve(stream: BinaryIO, size: int) -> None:
    """Give the file its full size with blocks behind it: writing to a map of a full disk kills the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    zeros = bytes(_CHUNK)
    for start in range(0, size, _CHUNK):
        stream.write(zeros[: size - start])
    stream.flush()


def _write(path: Path, target: Path, head: bytes, voxels: BinaryIO | None) -> None:
    """Header and voxels, either of which may be nothing, into one file; gzip if the target's name says so."""
    blocks = chain([head], () if voxels is None else blocks_of(voxels))
    with open(path, "wb") as sink:
        if target.name.lower().endswith(".gz"):
            write_gzip(blocks, sink)
        else:
            sink.writelines(blocks)


@contextlib.contextmanager
def _old_header_aside(head: Path, data: Path) -> Iterator[None]:
    """While a pair is replaced its old header is moved away: old voxels with a new header, or the reverse, would
    read as a wrong volume. It comes back if the new pair can't be written."""
    if head == data or not head.exists():
        yield
        return
    aside = head.with_name(f".{head.name}.{os.getpid()}.old")
    os.replace(head, aside)
    try:
        yield
    except BaseException:
        if not head.exists():
            os.replace(aside, head)
        raise
    finally:
        aside.unlink(missing_ok=True)
