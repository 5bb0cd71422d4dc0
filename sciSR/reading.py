"""Reads a list of files as one sequence of frames, whatever their format."""

from __future__ import annotations

import glob
import inspect
import itertools
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.colour import RGB
from sciSR.errors import (
    ResourceError,
    SciSRError,
    SciSRWarning,
    UnreadableError,
    UnsupportedError,
    UsageError,
)
from sciSR.image import Image
from sciSR.planes import plane_of
from sciSR.plugins import adapter_for, adapters
from sciSR.sequence import Frame, FrameSequence, LeftOut

Paths = str | Path | Iterable[str | Path]

_NAMED = 3  # files named in a warning that concerns many


def gather(paths: Paths) -> list[Path]:
    """The files meant: each once, in the order given; a pattern's and a folder's files by name.

    Parameters
    ----------
    paths : path, or iterable of paths
        Files, patterns with ``*``, ``?`` or ``[...]`` (a file of exactly that name comes first), or folders, of
        which the files are taken that an adapter recognises. Pictures beside data are taken for previews and left.

    Raises
    ------
    UsageError
        No path at all, or a pattern that fits no file.
    UnreadableError
        A folder without such files.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise UsageError("no frames were given")
    found: dict[Path, Path] = {}
    for path in itertools.chain.from_iterable(_expand(Path(p)) for p in given):
        found.setdefault(path.resolve(), path)
    return list(found.values())


def _expand(path: Path) -> list[Path]:
    if path.is_dir() and not _one_input(path):
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        found = {p: next((a for a in adapters().values() if _sniff(a, p)), None) for p in files}
        known = {p: adapter for p, adapter in found.items() if adapter is not None}
        if not known:
            raise UnreadableError("no file in this folder is an image of a known format", where=path)
        data = [p for p, adapter in known.items() if not getattr(adapter, "previews", False)]
        return data or list(known)
    if not path.exists() and glob.has_magic(str(path)):
        files = [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if not Path(p).is_dir()]
        if not files:
            raise UsageError("no file fits this pattern", where=path)
        return files
    return [path]


def _one_input(folder: Path) -> bool:
    """Whether an adapter takes the folder itself for its input (a DICOM series)."""
    return any(_sniff(adapter, folder) for adapter in adapters().values())


def _sniff(adapter: Adapter, path: Path) -> bool:
    try:
        return bool(adapter.sniff(path))
    except Exception:  # adapter_for names an adapter that breaks its promise
        return False


@dataclass
class _Gathered:
    """What reading has come to so far."""

    frames: list[Frame] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[SciSRError] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)

    def fail(self, path: Path, error: SciSRError, *, strict: bool) -> None:
        if strict or isinstance(error, ResourceError):
            raise error
        self.errors.append(error)
        what = error.what if not error.remedy else f"{error.what}; {error.remedy}"
        where = path.name if error.where is None else Path(error.where).name
        self.left_out.append(LeftOut(where, " ".join(what.split())))

    def note(self, path: Path, message: str) -> None:
        """Remember a warning; the same about many files is told once."""
        name, separator, text = message.partition(": ")
        if not separator or not name.startswith(path.name):
            name, text = path.name, message
        self.said.setdefault(text, []).append(name)


def frames_in(paths: Paths, **options: Any) -> list[Frame]:
    """The frames of all files, each of which must be readable."""
    state = _Gathered()
    planned = _planned(gather(paths), state, strict=True)
    return [
        frame for adapter, path, extra in planned for frame in frames_of(adapter, path, **options, **extra)
    ]


def read_frames(
    paths: Paths,
    *,
    strict: bool = False,
    dark: Paths | None = None,
    flat: Paths | None = None,
    bias: Paths | None = None,
    bad_pixels: str | Path | None = None,
    **options: Any,
) -> FrameSequence:
    """Frames of all files, lazily; see :func:`sciSR.read_sequence`."""
    files = _without(gather(paths), dark, flat, bias)
    finish = _Finish(dark, flat, bias, bad_pixels)
    from sciSR.api import _check_options as check_options

    state = _Gathered()
    for adapter, path, extra in _planned(files, state, strict=strict):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                check_options(adapter, path, options, writes=False)
                frames = frames_of(adapter, path, strict=strict, **options, **extra)
                frames = [finish(frame) for frame in frames]
            except SciSRError as error:
                state.fail(path, error, strict=strict)
                frames = []
        for warning in caught:
            _pass_on(warning, path, state)
        state.frames += frames
        state.sources += [path] * len(frames)
    if not state.frames:
        raise _nothing(files, state)
    notes = list(_notes(state))
    for note in notes:
        warnings.warn(note, SciSRWarning, stacklevel=3)
    for gone in state.left_out:
        warnings.warn(f"left out: {gone.name}: {gone.reason}", SciSRWarning, stacklevel=3)
    frames = _distinct_names(state.frames, state.sources)
    return FrameSequence(tuple(frames), tuple(state.left_out), (*notes, *finish.notes, *_shapes(frames)))


def _without(files: list[Path], *calibration: Paths | None) -> list[Path]:
    """Files that are given as dark, flat or bias are no frames, though a pattern may fit them too."""
    taken = {path.resolve() for paths in calibration if paths is not None for path in gather(paths)}
    left = [path for path in files if path.resolve() not in taken]
    if not left:
        raise UsageError("all frames are also given as dark, flat or bias")
    return left


class _Finish:
    """What is done to each frame after reading: calibration and known bad pixels."""

    def __init__(
        self, dark: Paths | None, flat: Paths | None, bias: Paths | None, bad_pixels: str | Path | None
    ) -> None:
        self._calibration = self._bad = None
        if any(kind is not None for kind in (dark, flat, bias)):
            from sciSR.calibration import Calibration

            self._calibration = Calibration(bias=bias, dark=dark, flat=flat)
        if bad_pixels is not None:
            from sciSR.bad_pixels import BadPixels

            self._bad = BadPixels(bad_pixels)

    @property
    def notes(self) -> list[str]:
        return [] if self._calibration is None else self._calibration.notes

    def __call__(self, frame: Frame) -> Frame:
        if self._bad is not None:
            frame = frame.replace(bad=self._bad.of(frame))
        return frame if self._calibration is None else self._calibration.apply(frame)


def _pass_on(warning: warnings.WarningMessage, path: Path, state: _Gathered) -> None:
    if issubclass(warning.category, SciSRWarning):
        state.note(path, str(warning.message))
    else:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _planned(
    files: Sequence[Path], state: _Gathered, *, strict: bool
) -> Iterator[tuple[Adapter, Path, Mapping[str, Any]]]:
    """Each file that holds frames, with its adapter and what goes with it (masks and weights in files of their own)."""
    chosen: dict[Path, Adapter] = {}
    for path in files:
        try:
            chosen[path] = adapter_for(path)
        except SciSRError as error:
            state.fail(path, error, strict=strict)
    extras: dict[Path, Mapping[str, Any]] = {}
    for adapter in {id(a): a for a in chosen.values()}.values():
        own = [path for path, a in chosen.items() if a is adapter]
        plan = getattr(adapter, "frame_files", None)
        extras |= {path: {} for path in own} if plan is None else dict(plan(own))
    yield from ((chosen[path], path, extras[path]) for path in chosen if path in extras)


def frames_of(adapter: Adapter, path: Path, *, strict: bool = False, **options: Any) -> list[Frame]:
    """The frames of one file: the adapter's own answer, or else each plane of each image.

    Raises
    ------
    UnsupportedError
        Planes that are no frames of one field: an axis of depth, or more than one further axis.
    """
    own = getattr(adapter, "read_frames", None)
    if own is not None:
        if strict and "strict" in inspect.signature(own).parameters:
            options["strict"] = True
        return list(own(path, **options))
    return [frame for image in adapter.read(path, **options) for frame in _planes(image)]


def _planes(image: Image) -> list[Frame]:
    others = [axis for axis, name in enumerate(image.axes) if name not in image.spatial]
    long = [axis for axis in others if image.shape[axis] > 1]
    if not others:
        return [Frame(image, image.where)]
    if len(long) > 1 or any(image.axes[axis] in ("z", RGB) for axis in long):
        names = ", ".join(f"{image.axes[axis]} ({image.shape[axis]})" for axis in long)
        raise UnsupportedError(
            f"its planes along {names} are no frames of one field",
            where=image.where,
            remedy="frames are two-dimensional images, or planes of a cube along one axis of time",
        )
    fixed = dict.fromkeys(others, 0)
    if not long:
        return [Frame(plane_of(image, fixed), image.where)]
    return [
        Frame(plane_of(image, fixed | {long[0]: k}), plane_name(image.where, k))
        for k in range(image.shape[long[0]])
    ]


def plane_name(where: str, plane: int) -> str:
    """``cube.fits`` -> ``cube.fits[17]``; ``cube.fits[SCI]`` -> ``cube.fits[SCI][17]``."""
    return f"{where}[{plane}]"


def _nothing(files: Sequence[Path], state: _Gathered) -> SciSRError:
    if not state.errors:
        return UnreadableError(
            "only masks, weights and errors are here, and no image that they go with", where=files[0]
        )
    first = state.errors[0]
    if len(files) == 1:
        return first
    return UnreadableError(f"none of {len(files)} files can be used; the first: {first}", remedy=None)


def _notes(state: _Gathered) -> Iterator[str]:
    for text, names in state.said.items():
        names = list(dict.fromkeys(names))
        listed = ", ".join(names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{listed}{more}: {text}"


def _shapes(frames: Sequence[Frame]) -> Iterator[str]:
    """Different shapes are no error (registration decides what lies where), but worth a line."""
    counts = Counter(frame.shape for frame in frames)
    if len(counts) > 1:
        parts = ", ".join(f"{n} of {rows}x{columns}" for (rows, columns), n in counts.most_common(6))
        yield f"frames have {len(counts)} different shapes (rows x columns): {parts}"


def _distinct_names(frames: Sequence[Frame], sources: Sequence[Path]) -> list[Frame]:
    """Files of the same name in different folders are told apart by as many folders as it takes."""
    same: dict[str, set[tuple[str, ...]]] = {}
    for source in sources:
        same.setdefault(source.name, set()).add(source.resolve().parent.parts)
    depths = {name: _depth(folders) for name, folders in same.items()}
    out = []
    for frame, source in zip(frames, sources, strict=True):
        parts = source.resolve().parent.parts
        folders = parts[len(parts) - depths[source.name] :]
        out.append(frame.replace(name="/".join((*folders, frame.name))) if folders else frame)
    return out


def _depth(folders: set[tuple[str, ...]]) -> int:
    """How many of the last folders tell all apart."""
    return next(
        n for n in itertools.count() if len({f[max(len(f) - n, 0) :] for f in folders}) == len(folders)
    )
