"""Where each result goes, decided and checked for a whole batch before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.errors import SciSRError, UsageError
from sciSR.files import check_output
from sciSR.inference.choose import scale_text
from sciSR.plugins import adapter_for, adapter_for_output, adapters


@dataclass(frozen=True)
class Job:
    """One input and where its result goes, or the reason why it can't be worked on.

    Attributes
    ----------
    input : Path
        A file or folder; the files' folder where `files` are given.
    output : Path or None
    adapter : Adapter or None
    options : mapping
        Those of the given options that the adapter knows.
    files : tuple of Path
        Files that make up one input together: some slices of a DICOM series.
    problem : SciSRError or None
    converter : Adapter or None
        Of the output, where that is of another format than the input.
    """

    input: Path
    output: Path | None = None
    adapter: Adapter | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    problem: SciSRError | None = None
    converter: Adapter | None = None

    @property
    def writer(self) -> Adapter | None:
        """The adapter that writes the output."""
        return self.converter or self.adapter


def plan_jobs(
    inputs: Sequence[Path | str],
    *,
    output: Path | str | None = None,
    out_dir: Path | str | None = None,
    scale: tuple[Fraction, Fraction] | str,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[Job]:
    """One job per input, in order; several DICOM files of one folder are one input.

    An unreadable input becomes a job with a `problem`; a request that makes no sense as a whole is refused
    here, before any file is worked on.

    Parameters
    ----------
    inputs : sequence of path
    output : path, optional
        Of the one input.
    out_dir : path, optional
        Folder for all outputs; made if it does not exist.
    scale : pair of Fraction, or str
        For the default names: ``_x2``; ``_iso`` for the string "iso".
    overwrite : bool
    options : mapping, optional
        The formats' own options; each job keeps those that its adapter knows.

    Raises
    ------
    UsageError
        `output` for several inputs or together with `out_dir`; two inputs with the same output; an output
        that is an input; an option that no input's format knows.
    """
    if not inputs:
        raise UsageError("no input given")
    if output is not None and out_dir is not None:
        raise UsageError("both an output and an output folder given", remedy="choose one of -o and --out-dir")
    found = _joined([_recognised(Path(path)) for path in inputs])
    if output is not None and len(found) > 1:
        raise UsageError(f"one output given for {len(found)} inputs", remedy="use --out-dir")
    options = dict(options or {})
    if output is not None:
        found = [replace(job, converter=converter_for(job.adapter, Path(output))) for job in found]
    _check_options(found, options)
    jobs = [_with_output(job, output, out_dir, scale, overwrite, options) for job in found]
    _check_collisions(jobs)
    if out_dir is not None and any(job.problem is None for job in jobs):
        _make_folder(Path(out_dir))
    return jobs


def find_inputs(inputs: Sequence[Path | str], options: Mapping[str, Any] | None = None) -> list[Job]:
    """The inputs alone, for work that writes nothing: as `plan_jobs`, without outputs.

    Raises
    ------
    UsageError
        No input; an option that no input's format knows.
    """
    if not inputs:
        raise UsageError("no input given")
    found, options = _joined([_recognised(Path(path)) for path in inputs]), dict(options or {})
    _check_options(found, options)
    known = [{option.name for option in job.adapter.options} if job.adapter else set() for job in found]
    return [
        replace(job, options={name: value for name, value in options.items() if name in names})
        for job, names in zip(found, known, strict=True)
    ]


def _recognised(path: Path) -> Job:
    if path.name in ("", ".."):  # ".", "..", "/": outputs are named after the folder, so it needs its name
        path = path.resolve()
    try:
        return Job(path, adapter=adapter_for(path))
    except SciSRError as problem:
        return Job(path, problem=problem)


def _joined(jobs: Sequence[Job]) -> list[Job]:
    """Files of one folder become one input where their adapter can read files together (`read_files`)."""
    groups: dict[object, list[Job]] = {}
    for number, job in enumerate(jobs):
        joins = hasattr(job.adapter, "read_files") and job.input.is_file()
        groups.setdefault((type(job.adapter), job.input.parent.resolve()) if joins else number, []).append(
            job
        )
    return [
        group[0]
        if len(group) == 1
        else replace(group[0], input=group[0].input.parent, files=tuple(job.input for job in group))
        for group in groups.values()
    ]


def _with_output(
    job: Job,
    output: Path | str | None,
    out_dir: Path | str | None,
    scale: tuple[Fraction, Fraction] | str,
    overwrite: bool,
    options: Mapping[str, Any],
) -> Job:
    path, adapter = job.input, job.adapter
    if adapter is None:
        return job
    known = _known_options(job)
    default = _default_output(adapter, path, scale)
    target = default if out_dir is None else Path(out_dir) / default.name
    target = target if output is None else Path(output)
    job = replace(job, output=target, options={name: v for name, v in options.items() if name in known})
    try:
        if job.converter is None:
            check_format(adapter, path, target, default)
        check_target(target, overwrite=overwrite, folder_is_made=out_dir is not None)
    except SciSRError as problem:
        return replace(job, problem=problem)
    return job


def _default_output(adapter: Adapter, path: Path, scale: tuple[Fraction, Fraction] | str) -> Path:
    if not isinstance(scale, str):
        return adapter.default_output(path, scale_text(scale))
    named = adapter.default_output(path, scale)  # every adapter appends "_x" and the scale
    return named.with_name(f"_{scale}".join(named.name.rsplit(f"_x{scale}", 1)))


def check_format(adapter: Adapter, path: Path, target: Path, default: Path) -> None:
    """Refuse an output name of another format: headers of one format have no equal in another.

    Raises
    ------
    UsageError
    """
    name = target.name.lower()
    if any(name.endswith(suffix) for suffix in adapter.suffixes):
        return
    own = " ".join(adapter.suffixes)
    for other in adapters().values():
        if other is not adapter and any(name.endswith(suffix) for suffix in other.suffixes):
            raise UsageError(
                f"a {adapter.name} input can't become a {other.name} output: its header has no equal there",
                where=target,
                remedy=f"give a name in {own}, e.g. {default.name}" if own else f"e.g. {default.name}",
            )
    makes_folder = not any(default.name.lower().endswith(suffix) for suffix in adapter.suffixes)
    if not makes_folder:
        if getattr(adapter, "writes_folders", False) and (target.is_dir() or not target.suffix):
            return
        if target.is_dir():
            raise UsageError("is a folder", where=target, remedy="use --out-dir for a folder of outputs")
        raise UsageError(f"not a {adapter.name} file name", where=target, remedy=f"give a name in {own}")


def check_target(target: Path, *, overwrite: bool, folder_is_made: bool = False) -> None:
    """Refuse early an output that exists or whose folder can't be written.

    Raises
    ------
    UsageError
    """
    if folder_is_made and not target.parent.exists():
        return
    if target.is_dir() and not any(target.iterdir()):
        return  # an empty folder is as good as none
    check_output(target, overwrite=overwrite)


def converter_for(adapter: Adapter | None, target: Path) -> Adapter | None:
    """The adapter of an output of another format that can hold what `adapter` reads: volumes in space, or any image.

    See `reads_volumes`, `writes_volumes` and `writes_any` of :class:`sciSR.adapter.Adapter`.
    """
    if adapter is None:
        return None
    try:
        other = adapter_for_output(target)
    except UsageError:
        return None
    volumes = getattr(adapter, "reads_volumes", False) and getattr(other, "writes_volumes", False)
    return other if other is not adapter and (volumes or getattr(other, "writes_any", False)) else None


def _known_options(job: Job) -> set[str]:
    """Names of options that this job's formats know: of its input for reading, of its output for writing."""
    if job.adapter is None or job.writer is None:
        return set()
    reading = {option.name for option in job.adapter.options if not option.writes}
    return reading | {option.name for option in job.writer.options if option.writes}


def _check_options(jobs: Sequence[Job], options: Mapping[str, Any]) -> None:
    """An option that nothing here understands is a mistake, not something to drop in silence."""
    found = {job.adapter.name: job.adapter for job in jobs if job.adapter is not None}
    if not found:
        return
    known = set().union(*(_known_options(job) for job in jobs))
    for name in options:
        if name not in known:
            formats = ", ".join(sorted(found))
            raise UsageError(
                f"--{name.replace('_', '-')} means nothing to {formats} files", remedy="leave it out"
            )


def _check_collisions(jobs: Sequence[Job]) -> None:
    inputs = {path.resolve(): path for job in jobs for path in (job.files or (job.input,))}
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.output is None:
            continue
        target = job.output.resolve()
        if target in inputs:
            whose = "its own" if inputs[target] == job.input else f"{inputs[target].name}: another"
            raise UsageError(
                f"the output {job.output} is {whose} input", where=job.input, remedy="name another output"
            )
        if job.input.is_dir() and not job.files and job.input.resolve() in target.parents:
            raise UsageError(f"the output {job.output} lies inside the input folder", where=job.input)
        if target in taken:
            raise UsageError(
                f"{taken[target]} and {job.input} would both be written to {job.output}",
                remedy="run them apart, or into different folders",
            )
        taken[target] = job.input


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the output folder: {error.strerror}", where=folder) from error
