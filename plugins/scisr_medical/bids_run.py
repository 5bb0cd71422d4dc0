"""The work on a BIDS dataset, subject by subject: what is finished, what is to be done, and how it went."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciSR import __version__
from sciSR.errors import NothingToDo, SciSRError, UnreadableError, UsageError
from sciSR.image import Image
from sciSR.provenance import file_sha256
from scisr_medical.bids_derivative import output_path
from scisr_medical.bids_folder import make_folders, prepare
from scisr_medical.bids_layout import BidsDataset, BidsImage, read_json
from scisr_medical.bids_writer import DerivativeAdapter, digest_of

COMPANIONS = {"dwi": (".bval", ".bvec"), "epi": (".bval", ".bvec"), "dseg": (".tsv",)}
"""Tables that belong to images of a suffix and stay as they are."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes
    ----------
    dataset : BidsDataset
    out_dir : Path
        Root of the derivative.
    make_plan : callable
        The plan of an image, as for :func:`sciSR.workflow.run.run_jobs`.
    settings : mapping
        JSON-ready: what the result depends on. A result with other settings is not this one.
    resolution : str
        Label of the ``res-`` entity.
    options : mapping
        Of the NIfTI adapter.
    overwrite : bool
        Redo what was made of another input, or with other settings or another version.
    """

    dataset: BidsDataset
    out_dir: Path
    make_plan: Callable[[Image], Any]
    settings: Mapping[str, Any]
    resolution: str
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False


@dataclass(frozen=True)
class ImageResult:
    """What became of one image: ``"ok"``, ``"skipped"`` or ``"failed"``.

    Attributes
    ----------
    input, output : str
        Relative to the two datasets.
    status, reason : str
    error : SciSRError or None
        Of a failed one.
    outcome : mapping
        Of a finished run: what :meth:`sciSR.workflow.run.Outcome.as_dict` says, paths left out.
    """

    input: str
    output: str
    status: str
    reason: str = ""
    error: SciSRError | None = None
    outcome: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        record = {"input": self.input, "output": self.output, "status": self.status, "reason": self.reason}
        return record | {
            key: value for key, value in self.outcome.items() if key not in ("input", "output", "ok")
        }


@dataclass(frozen=True)
class SubjectResult:
    """What became of the images of one subject."""

    label: str
    images: tuple[ImageResult, ...]

    @property
    def status(self) -> str:
        """``"failed"`` if any image failed, ``"ok"`` if any was made, else ``"skipped"``."""
        found = {image.status for image in self.images}
        return next((each for each in ("failed", "ok") if each in found), "skipped")

    @property
    def line(self) -> str:
        """One line: the label, what happened, how often, and why; nothing else of the subject."""
        words = [f"sub-{self.label}", self.status]
        if not self.images:
            return "  ".join([*words, "no such image"])
        failed = [image for image in self.images if image.status == "failed"]
        ends = [
            "written" if image.status == "ok" else image.reason for image in self.images if not image.error
        ]
        counts = [f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)]
        if failed:
            counts += [f"{len(failed)} failed"] if len(self.images) > 1 else []
            others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            reason = f"{failed[0].input.rpartition('/')[2]}: {failed[0].reason}{others}"
        return "  ".join([*words, *([", ".join(counts)] if counts else []), *([reason] if failed else [])])

    def as_dict(self) -> dict[str, Any]:
        return {
            "participant": self.label,
            "status": self.status,
            "images": [image.as_dict() for image in self.images],
        }


@dataclass(frozen=True)
class Task:
    """One image to be done: where it goes, and what travels with it."""

    image: BidsImage
    output: Path
    metadata: Mapping[str, Any]
    companions: Mapping[str, Path]
    record: Mapping[str, Any]


def check_collisions(images: Sequence[BidsImage], resolution: str) -> None:
    """Refuse two inputs with one output: ``.nii`` and ``.nii.gz`` of one name.

    Raises
    ------
    UsageError
    """
    taken: dict[str, BidsImage] = {}
    for image in images:
        output = str(output_path(image, resolution)).lower()  # BIDS: labels must not differ by case alone
        if output in taken:
            raise UsageError(
                f"{taken[output].relative} and {image.relative} would have the same result",
                remedy="keep one of them",
            )
        taken[output] = image


def run_subjects(
    request: Request,
    images: Mapping[str, Sequence[BidsImage]],
    progress: Callable[[Any], contextlib.AbstractContextManager[Any]] | None = None,
) -> Iterator[SubjectResult]:
    """Work through the images of each subject; what is finished and unchanged is left as it is.

    Parameters
    ----------
    request : Request
    images : mapping of str to sequence of BidsImage
        By subject.
    progress : callable, optional
        As for :func:`sciSR.workflow.run.run_jobs`.

    Yields
    ------
    SubjectResult
        As each subject is done.
    """
    for label, own in images.items():
        yield SubjectResult(label, tuple(_run_image(request, image, progress) for image in own))


def _run_image(request: Request, image: BidsImage, progress: Any) -> ImageResult:
    output = output_path(image, request.resolution)
    try:
        task = _task(request, image)
        if _is_finished(request, task):
            return ImageResult(str(image.relative), str(output), "skipped", "finished before")
        outcome = _work(request, task, progress)
    except NothingToDo as reason:
        return ImageResult(str(image.relative), str(output), "skipped", _reason(reason))
    except SciSRError as error:
        return ImageResult(str(image.relative), str(output), "failed", _reason(error), error)
    except OSError as problem:
        error = UnreadableError(f"can't be read: {problem.strerror or problem}", where=image.path)
        return ImageResult(str(image.relative), str(output), "failed", _reason(error), error)
    return ImageResult(str(image.relative), str(output), "ok", outcome=outcome)


def _reason(error: SciSRError) -> str:
    """What is wrong and what to do, without the path: only labels stand in a subject's line."""
    return str(type(error)(error.what, remedy=error.remedy))


def _task(request: Request, image: BidsImage) -> Task:
    """Read what an image's result depends on.

    Raises
    ------
    UnreadableError
        The image's content or its metadata can't be read.
    """
    if not image.path.exists():
        raise UnreadableError(
            "its content is not here, only a link", where=image.path, remedy="fetch it, e.g. 'datalad get'"
        )
    metadata = request.dataset.metadata(image)
    endings = COMPANIONS.get(image.name.suffix, ())
    found = {ending: request.dataset.companion(image, ending) for ending in endings}
    companions = {ending: file for ending, file in found.items() if file is not None}
    try:
        digests = {ending: file_sha256(file) for ending, file in companions.items()}
        record = {
            "InputSHA256": file_sha256(image.path),
            "MetadataSHA256": hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest(),
            "CompanionSHA256": digests,
            "Settings": dict(request.settings),
        }
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=image.path) from error
    output = request.out_dir / output_path(image, request.resolution)
    return Task(image, output, metadata, companions, record)


def _is_finished(request: Request, task: Task) -> bool:
    """Whether the result is there, whole, and that of this input with these settings; False if it is to be made.

    Raises
    ------
    UsageError
        It is there and not this one, and may not be overwritten.
    """
    sidecar = task.output.with_name(task.output.name.removesuffix(".nii.gz") + ".json")
    tables = [task.output.with_name(sidecar.stem + ending) for ending in task.companions]
    if not all(file.exists() for file in (task.output, sidecar, *tables)):
        return False  # the sidecar is written last: without it, a run was interrupted
    difference = _difference(task, sidecar, any_version=not request.overwrite)
    if difference and not request.overwrite:
        raise UsageError(difference, where=task.output, remedy="give --overwrite to redo it")
    return not difference


def _difference(task: Task, sidecar: Path, *, any_version: bool) -> str:
    """Why a result is not the one that would be made now; empty if it is."""
    try:
        found = read_json(sidecar).get("SciSR")
        if not isinstance(found, Mapping) or found.get("OutputSHA256") != digest_of(task.output):
            return "a result is there that is not what its record says"
        for ending, digest in task.record["CompanionSHA256"].items():
            if digest_of(task.output.with_name(sidecar.stem + ending)) != digest:
                return f"the {ending} file of the result is not that of the input"
    except SciSRError:
        return "a result is there whose record can't be read"
    if found.get("InputSHA256") != task.record["InputSHA256"]:
        return "the input has changed since the result was made"
    if found.get("MetadataSHA256") != task.record["MetadataSHA256"]:
        return "the input's metadata have changed since the result was made"
    if found.get("Settings") != task.record["Settings"]:
        return f"a result with other settings is there ({_in_words(found.get('Settings'))})"
    if not any_version and found.get("Version") != __version__:
        return f"the result was made by version {found.get('Version')}"
    return ""


def _in_words(settings: Any) -> str:
    pairs = settings.items() if isinstance(settings, Mapping) else ()
    return ", ".join(f"{key} {value}" for key, value in pairs) or "not recorded"


def _work(request: Request, task: Task, progress: Any) -> dict[str, Any]:
    """Make one result; its folder goes again if it stays empty."""
    from sciSR.workflow.outputs import Job
    from sciSR.workflow.run import Failure, Skipped, run_jobs

    prepare(request.dataset, request.out_dir)
    made = make_folders(task.output.parent)
    _remove_leftovers(task.output)
    job = Job(task.image.path, task.output, DerivativeAdapter(task), request.options)
    try:
        [result] = run_jobs([job], make_plan=request.make_plan, overwrite=True, progress=progress)
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # not empty: as it should be
                folder.rmdir()
    if isinstance(result, Failure):
        raise result.error
    if isinstance(result, Skipped):
        raise result.reason
    return result.as_dict()


def _remove_leftovers(output: Path) -> None:
    """Temporary files of this result that a killed run could not remove any more; see `atomic_output`."""
    stem = output.name.removesuffix(".nii.gz")
    for ending in (".nii.gz", ".json", ".bval", ".bvec", ".tsv"):
        for file in output.parent.glob(f".{(stem + ending)[:80]}.*.tmp"):
            with contextlib.suppress(OSError):
                file.unlink()


def exit_code(results: Sequence[SubjectResult]) -> int:
    """0 if all went well; the error's own code for a single image; 4 if any of several failed."""
    images = [image for result in results for image in result.images]
    errors = [image.error for image in images if image.error is not None]
    if not errors:
        return 0
    return errors[0].exit_code if len(images) == 1 else 4
