"""What a file format's plugin offers. Ours and a stranger's are found and used in exactly the same way.

An adapter is registered under the entry point group ``scisr.adapters``; the entry point names an object
(usually a module-level instance) with the attributes of :class:`Adapter`. :mod:`sciSR.testing` checks one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from sciSR.errors import SciSRError
from sciSR.image import Image


@dataclass(frozen=True)
class Option:
    """One option that an adapter adds to :func:`sciSR.read` and the command line.

    Parameters
    ----------
    name : str
        Python keyword; the command line writes ``--name`` with dashes.
    help : str
        One line.
    type : {"text", "flag", "choice"}
    choices : tuple of str
        For ``"choice"``.
    multiple : bool
        May be given several times; the adapter gets a tuple.
    writes : bool
        Passed to :meth:`Adapter.open_writer` instead of :meth:`Adapter.read`.
    """

    name: str
    help: str
    type: str = "text"
    choices: tuple[str, ...] = ()
    multiple: bool = False
    writes: bool = False


@dataclass(frozen=True)
class FoundInput:
    """One thing to work on that a folder's own layout makes of its files: a DICOM series, an image of a BIDS dataset.

    Attributes
    ----------
    name : str
        The same wherever the folder lies, and without a patient's name.
    files : tuple of Path
    facts : mapping of str to str
        What templates, filters and groups may speak of, and records hold: nothing that tells who a patient is.
    hidden : mapping of str to str
        What filters alone may speak of: free texts of the header.
    problem : SciSRError or None
        Why it can't be read.
    """

    name: str
    files: tuple[Path, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)
    problem: SciSRError | None = None


@runtime_checkable
class Writer(Protocol):
    """Takes blocks in any order, then commits all at once. A context manager: leaving it early aborts."""

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store `block` at ``index`` (one int or slice per axis) of output image number `part`."""
        ...

    def commit(self, images: Sequence[Image]) -> Path:
        """Finish headers (the images' final provenance), checksums, fsync and rename. Returns the target."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Adapter(Protocol):
    """One file format.

    Some methods are optional; an adapter without them is complete:

    ``read_files(paths, **options) -> list[Image]``
        For a format whose images are spread over several files (a DICOM series).
    ``read_frames(path, *, strict=False, **options) -> list[Frame]``
        The exposures that one file holds, lazily, for :func:`sciSR.read_sequence`: planes of a cube, images of a
        video, several detectors, each with what the file tells of exposure, time, filter and noise. `strict`
        refuses what else is only a warning. Without it, each image of :meth:`read` is a frame, and so is each plane
        along its one further axis.
    ``frame_files(paths) -> list[(path, options)]``
        Which of some files are exposures, in order, and additional keyword arguments of ``read_frames`` for each:
        masks and weights in files of their own belong to an exposure and are none.
    ``write_fused(path, fused, *, overwrite=False) -> Path``
        Write what :func:`sciSR.fuse` returns, a :class:`sciSR.fusion.product.Fused`: image, error, weight, coverage,
        context and the record of each frame, atomically.
    ``writes_volumes : bool``
        Whether :meth:`open_writer` takes a volume that was made here and never read (an Image on an
        :class:`sciSR.grid.AffineGrid`, without metadata), as the fusion of stacks of slices does.
    ``reads_volumes : bool``
        Whether :meth:`read` gives such volumes. They can then be written in another format with `writes_volumes`,
        without what their header holds besides.
    ``writes_any : bool``
        Whether :meth:`open_writer` takes images of any other format, without metadata, and refuses by name a grid that
        it can't hold.
    ``previews : bool``
        Whether files of this format often are pictures made of others beside them: a folder's are then only taken for
        frames where it holds nothing else.
    ``writes_folders : bool``
        Whether the result of a single file may also be a folder (a series of DICOM files): ``-o out/`` then is one.
    ``neutral_name(path, name) -> str``
        How records name an input that calls itself `name`: so, or by a name that says nothing where the file tells
        that `name` holds its patient's name or identifier.
    ``facts(path) -> mapping of str to str``
        What the headers of a file say, as texts by keyword, for the filters, groups and names of pipelines: quickly,
        without pixels, and with the suspicion that :meth:`read` has. Nothing that tells who a patient is. Raises
        SciSRError where the headers can't be read.
    ``layout : str``, ``inputs_in(folder, files, *, keywords=()) -> list[FoundInput]``
        The name of a layout of folders, ``"bids"``, ``"dicom"``, and what it makes of some files of a folder, in a
        fixed order. `keywords` are further keys of the header that filters ask for, told in `hidden`.
    ``subject(image) -> str | None``
        A name that all images of one patient or one object in the sky have in common, as the header tells; None if it
        does not. A patient's identifier only as its hash. It keeps training and held-out files apart.
    ``writes_uncertainty : bool``
        Whether :meth:`open_writer` takes ``uncertainty=True``: each image's `uncertainty`, one standard deviation, as
        it stands in the images that :meth:`Writer.commit` is given, is then written too. After the commit the writer
        has `uncertainty_files`, the paths of the files that hold it.
    ``uncertainty_of(path, image) -> LazyArray | None``
        The standard deviation that was written with an output and does not come with the image that :meth:`read` gives:
        in a file beside it.
    ``open_shared(path, images, *, temporary, overwrite=False, align=(1, 1)) -> SharedWriter``
        Begin an output that several processes fill, in a `temporary` file or folder beside it, which is gone on with
        where it exists and stays where a run is killed. No two processes write within the same `align` rows and
        columns. The writer has ``ticket(part)``, a JSON-ready mapping for other processes, :meth:`Writer.commit`, and
        ``discard()``; leaving it as a context manager keeps the temporary.
    ``shared_store(ticket) -> context manager``
        In another process: ``put(index, block)`` stores pixels; leaving it puts them on disk for good.
    ``checked_options : mapping``
        Options of :meth:`read` for a file that this run has already checked: its sums need not be computed again.
    ``verifier() -> FormatVerifier``
        What ``scisr verify`` asks the format: geometry by its reference library, what became of each metadata key, its
        own validator; see :class:`sciSR.verify.result.FormatVerifier`.

    Attributes
    ----------
    name : str
        Short, lower case: ``"fits"``.
    suffixes : tuple of str
        With the dot, longest first: ``(".fits.gz", ".fits")``. Used to name outputs and to choose a writer.
    options : tuple of Option
    """

    name: str
    suffixes: tuple[str, ...]
    options: tuple[Option, ...]

    def sniff(self, path: Path) -> bool:
        """Whether this file (or folder) is of this format, by content, reading a few kB at most. Never raises."""
        ...

    def read(self, path: Path, **options: Any) -> list[Image]:
        """The images of one file, lazily: headers are parsed and checked, pixels stay on disk.

        Raises
        ------
        SciSRError
            Of the fitting kind, naming the file, the part, and the remedy. Never anything else.
        """
        ...

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> Writer:
        """Begin an output like the file that `images` were read from.

        Parameters
        ----------
        images : sequence of Image
            Results, one per image that :meth:`read` returned, in order. Only ``data.shape`` and ``data.dtype`` of
            ``data`` are used; pixels come through :meth:`Writer.put`. ``grid.factors`` says how much finer each
            is than what was read; ``metadata`` is what :meth:`read` put there (None for an image made in memory).
        """
        ...

    def describe(self, path: Path) -> Mapping[str, Any]:
        """A JSON-ready summary of the file for ``scisr info``: parts, shapes, units, grid, notes."""
        ...

    def default_output(self, path: Path, scale: str) -> Path:
        """Where the result goes when no output was named: ``m51.fits`` -> ``m51_x2.fits``."""
        ...
