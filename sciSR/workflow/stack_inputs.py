"""Which of some inputs are stacks of slices, and which are frames: the two things that can be fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.errors import SciSRError, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.workflow.outputs import Job, find_inputs

_SERIES = "series"
"""The option that picks a series of a folder; of stacks, several may be picked: ``4,5,6``."""


@dataclass(frozen=True)
class Source:
    """One stack as it was found.

    Attributes
    ----------
    image : Image
        Lazy.
    path : Path
        The file or folder that was given.
    files : tuple of Path
        Where some files of a folder were given: those.
    """

    image: Image
    path: Path
    files: tuple[Path, ...] = ()

    def sha256(self) -> str:
        """Of the file, or of the files in name order."""
        import hashlib

        from sciSR.provenance import file_sha256

        if not self.files:
            return file_sha256(self.path)
        digest = hashlib.sha256()
        for path in sorted(self.files):
            digest.update(bytes.fromhex(file_sha256(path)))
        return digest.hexdigest()


def find_stacks(paths: Sequence[Path | str], options: Mapping[str, Any] | None = None) -> list[Source] | None:
    """The stacks that some inputs hold, in order, or None where they are frames.

    Parameters
    ----------
    paths : sequence of path
        Files, patterns or folders. A DICOM folder is one input, and so are single slices of one folder; a file that
        holds several stacks gives them all.
    options : mapping, optional
        The formats' own options for reading. ``series="4,5,6"`` takes three stacks from one folder.

    Raises
    ------
    UsageError
        Stacks and frames together; an option that means nothing to these files.
    SciSRError
        A stack can't be read. None is left out: each has directions that no other has.
    """
    from sciSR.reading import gather

    files = gather([*paths])
    jobs = find_inputs(files)
    frames = [job for job in jobs if job.adapter is not None and holds_frames(job.adapter)]
    others = [job for job in jobs if job.adapter is not None and not holds_frames(job.adapter)]
    if not others:
        return None
    found, problems = _read_each(others, dict(options or {}), mixed=bool(frames))
    volumes = [source for source in found if is_volume(source.image)]
    if frames and volumes:
        raise UsageError(
            f"a stack of slices among frames: {volumes[0].image.where} is a volume, {frames[0].input.name} is not",
            remedy="fuse them apart",
        )
    if frames or (found and not volumes and not problems):
        return None
    problems = [job.problem for job in jobs if job.problem is not None] + problems
    if problems:
        raise problems[0]
    return found


def holds_frames(adapter: Adapter) -> bool:
    """Whether a format is one of exposures of a sky: it says so by the methods it has."""
    return any(hasattr(adapter, name) for name in ("read_frames", "frame_files", "write_fused"))


def is_volume(image: Image) -> bool:
    """Whether an image lies in space and has slices."""
    return isinstance(image.grid, AffineGrid) and image.slice_axis is not None


def _read_each(
    jobs: Sequence[Job], options: dict[str, Any], *, mixed: bool
) -> tuple[list[Source], list[SciSRError]]:
    """What can be read, and why the rest can't."""
    wanted = _split_series(options)
    known = {
        option.name for job in jobs if job.adapter for option in job.adapter.options if not option.writes
    }
    if not mixed and (unknown := sorted(set(options) - known)):
        formats = ", ".join(sorted({job.adapter.name for job in jobs if job.adapter}))
        raise UsageError(
            f"--{unknown[0].replace('_', '-')} means nothing to {formats} files", remedy="leave it out"
        )
    found: list[Source] = []
    problems: list[SciSRError] = []
    for job in jobs:
        try:
            for choice in wanted:
                found += _read(job, choice)
        except SciSRError as problem:
            problems.append(problem)
    return found, problems


def _split_series(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One set of options for each series named."""
    names = [name.strip() for name in str(options.get(_SERIES, "")).split(",") if name.strip()]
    return [options | {_SERIES: name} for name in names] if len(names) > 1 else [options]


def _read(job: Job, options: Mapping[str, Any]) -> list[Source]:
    assert job.adapter is not None  # a job without one has a problem
    known = {option.name for option in job.adapter.options}
    options = {name: value for name, value in options.items() if name in known}
    if not job.files:
        return [Source(image, job.input) for image in job.adapter.read(job.input, **options)]
    # Enhanced files are volumes each by itself, though they may lie in one folder; classic ones are slices of one.
    first = [Source(image, job.files[0]) for image in _quietly(job.adapter.read, job.files[0], options)]
    if first and all(is_volume(s.image) and _slices(s.image) > 1 for s in first):
        alone = [replace(job, input=path, files=()) for path in job.files]
        return [source for each in alone for source in _read(each, options)]
    read_files: Callable[..., list[Image]] = job.adapter.read_files  # type: ignore[attr-defined]
    return [Source(image, job.input, job.files) for image in read_files(job.files, **options)]


def _quietly(read: Callable[..., list[Image]], path: Path, options: Mapping[str, Any]) -> list[Image]:
    """A first look: what is wrong is said when all files are read together."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read(path, **options)
        except SciSRError:
            return []


def _slices(image: Image) -> int:
    return image.shape[image.slice_axis] if image.slice_axis is not None else 0
