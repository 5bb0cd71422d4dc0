"""Upscale files, or do something else to each: read, plan, stream block by block, commit; one file or a batch."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TextIO

from sciSR import __version__
from sciSR.adapter import Adapter
from sciSR.errors import NothingToDo, ResourceError, SciSRError, SciSRWarning, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.choose import parse_scale
from sciSR.provenance import file_sha256
from sciSR.workflow.outcome import Failure, Outcome, PartOutcome, Skipped
from sciSR.workflow.outputs import Job, plan_jobs

log = logging.getLogger(__name__)

Progress = Callable[[float], None]


class Plan(Protocol):
    """What will be done to one image: an `UpscalePlan` or a `DegradePlan`."""

    messages: list[str]

    @property
    def output(self) -> Image:
        """The result without its pixels."""
        ...

    def run(self, put: Callable[..., None], progress: Progress | None = None) -> Image:
        """Hand over the pixels with ``put(index, block)``; the result with its provenance."""
        ...


def upscale_file(
    path: Path | str,
    output: Path | str | None = None,
    *,
    scale: str | float | Fraction | tuple[Fraction, Fraction] = 2,
    model: str = "auto",
    consistency: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    tile: int | None = None,
    forward: str = "auto",
    noise: float | None = None,
    psf_fwhm: float | None = None,
    label_method: str = "nearest",
    uncertainty: Any = False,
    strict: bool = False,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Upscale every image of one file (or DICOM folder) into another, block by block.

    Parameters
    ----------
    path : path
    output : path, optional
        Beside the input with ``_x2`` in its name by default.
    scale : number, pair, or str
        2, 1.5, ``"3/2"``, or one per spatial axis; see :func:`sciSR.inference.choose.parse_scale`.
    model, consistency, device, precision, tile, forward, noise, psf_fwhm, label_method, uncertainty, strict
        See :func:`sciSR.inference.plan_upscale`.
    overwrite : bool
        Replace an existing output.
    options : mapping, optional
        The format's own options, e.g. ``{"hdu": ("SCI",)}``.
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Returns
    -------
    Outcome

    Raises
    ------
    SciSRError
        Naming the file, what is wrong, and what to do. Nothing is written then.
    """
    factors = parse_scale(scale)
    [job] = plan_jobs([path], output=output, scale=factors, overwrite=overwrite, options=options)
    settings = {
        "model": model,
        "consistency": consistency,
        "device": device,
        "precision": precision,
        "tile": tile,
        "forward": forward,
        "noise": noise,
        "psf_fwhm": psf_fwhm,
        "label_method": label_method,
        "uncertainty": uncertainty,
        "strict": strict,
    }
    make_plan = partial(plan_upscale, scale=factors, **settings)
    return _run_job(job, make_plan, overwrite, progress, uncertainty=bool(uncertainty))


def _run_job(
    job: Job,
    make_plan: Callable[[Image], Plan],
    overwrite: bool,
    progress: Progress | None,
    uncertainty: bool = False,
) -> Outcome:
    """Read, plan, stream, commit."""
    start = time.perf_counter()
    if job.problem is not None:
        raise job.problem
    path, target, adapter, writes = job.input, job.output, job.adapter, job.writer
    assert target is not None  # a job without them has a problem
    assert adapter is not None
    assert writes is not None
    writing = {option.name for option in writes.options if option.writes}
    read_options = {name: value for name, value in job.options.items() if name not in writing}
    write_options = {name: value for name, value in job.options.items() if name in writing}
    if uncertainty:
        _check_uncertainty(path, writes)
        write_options["uncertainty"] = True
    said: list[str] = []
    with out_of_memory_named(path), overheard(said):
        # Only adapters that have `read_files` are given several files: see sciSR.workflow.outputs.
        images = (
            adapter.read_files(job.files, **read_options) if job.files else adapter.read(path, **read_options)
        )
        if not images:
            raise UnsupportedError("holds no image", where=path)
        digest = file_sha256(path) if not job.files else _files_sha256(job.files)
        record = {"software": f"sciSR {__version__}", "step": "read", "input_sha256": digest}
        images = [image.replace(provenance=image.provenance.add(**record)) for image in images]
        plans = [make_plan(image) for image in images]
        for plan in plans:
            log.info("%s: %s -> %s", plan.output.where, plan.messages, plan.output.shape)
        outputs = [plan.output for plan in plans]
        if writes is not adapter:
            _warn_of_conversion(path, adapter, writes)
            outputs = _without_metadata(outputs)
        with writes.open_writer(target, outputs, overwrite=overwrite, **write_options) as writer:
            finals = _run_all(plans, writer.put, progress)
            written = writer.commit(finals if writes is adapter else _without_metadata(finals))
    parts = tuple(
        PartOutcome(final.part, image.shape, final.shape, final.provenance.steps[-1], tuple(plan.messages))
        for image, plan, final in zip(images, plans, finals, strict=True)
    )
    beside = tuple(getattr(writer, "uncertainty_files", ()))
    seconds = time.perf_counter() - start
    return Outcome(path, written, adapter.name, digest, parts, tuple(said), seconds, beside)


def _check_uncertainty(path: Path, writes: Adapter) -> None:
    """Refuse early what has no place in the output's format."""
    if not getattr(writes, "writes_uncertainty", False):
        raise UsageError(
            f"{writes.name} files have no place for an uncertainty",
            where=path,
            remedy="leave out --uncertainty, or give the image as FITS, NIfTI or DICOM",
        )


def _warn_of_conversion(path: Path, adapter: Adapter, writes: Adapter) -> None:
    warnings.warn(
        f"{path}: written as {writes.name}, which keeps its values and their place in space; what else the "
        f"{adapter.name} header says (of patient, acquisition, times) is not carried over",
        SciSRWarning,
        stacklevel=3,
    )


def _without_metadata(images: Sequence[Image]) -> list[Image]:
    """The header of one format means nothing to the writer of another."""
    return [image.replace(metadata=None) for image in images]


def _files_sha256(files: Sequence[Path]) -> str:
    """As :func:`file_sha256` of a folder that holds just these files."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def _run_all(plans: Sequence[Plan], put: Callable[..., None], progress: Progress | None) -> list[Image]:
    """Run the plans in order; progress is shared out by their numbers of output pixels."""
    sizes = [_pixels(plan.output.shape) for plan in plans]
    finals, done = [], 0
    for part, (plan, size) in enumerate(zip(plans, sizes, strict=True)):

        def store(index: Any, block: Any, part: int = part) -> None:
            put(part, index, block)

        def report(fraction: float, done: int = done, size: int = size) -> None:
            if progress is not None:
                progress((done + fraction * size) / sum(sizes))

        # Writers take blocks in any order, so memory need not hold rows of full width.
        # Asked of its class: a plan made of others passes questions on to them, but not the answer.
        how = {"by_tile": True} if getattr(type(plan), "hands_over_tiles", False) else {}
        finals.append(plan.run(store, progress=report, **how))
        done += size
    return finals


def _pixels(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return max(product, 1)


@contextlib.contextmanager
def out_of_memory_named(path: Path, remedy: str = "give a smaller --tile") -> Iterator[None]:
    """Memory that is not to be had, the CPU's or an accelerator's, as one line with `remedy`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from sciSR.inference.device import is_out_of_memory  # torch has its own ways to say it

        if not is_out_of_memory(error):
            raise
        raise ResourceError("out of memory", where=path, remedy=remedy) from error


@contextlib.contextmanager
def overheard(said: list[str]) -> Iterator[None]:
    """Keep the text of each SciSRWarning for the record, and let it go on to whoever listens."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", SciSRWarning)
        listener = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, SciSRWarning):
                said.append(" ".join(str(message).split()))
            listener(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def run_jobs(
    jobs: Sequence[Job],
    *,
    scale: tuple[Fraction, Fraction] | None = None,
    make_plan: Callable[[Image], Plan] | None = None,
    overwrite: bool = False,
    progress: Callable[[Job], contextlib.AbstractContextManager[Progress | None]] | None = None,
    run: Callable[[Job, Progress | None], Outcome] | None = None,
    **settings: Any,
) -> Iterator[Outcome | Failure | Skipped]:
    """Work through planned jobs one after another; one that fails does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        From :func:`sciSR.workflow.outputs.plan_jobs`.
    scale : pair of Fraction, optional
        To upscale by.
    make_plan : callable, optional
        What to do instead: an image's plan, see :class:`Plan`. Of the settings only `uncertainty` is then looked at:
        whether to write what the plan finds.
    overwrite : bool
    progress : callable, optional
        Given a job, returns a context manager that yields the progress callback for it.
    run : callable, optional
        What runs a job instead, ``run(job, progress)``: by blocks over workers.
    **settings
        `model`, `consistency`, `device`, `precision`, `tile`, `forward`, `noise`, `psf_fwhm`, `label_method`,
        `uncertainty`, `strict` as in :func:`upscale_file`.

    Yields
    ------
    Outcome, Failure or Skipped
        One per job, in order, as each is done.
    """
    uncertainty = bool(settings.get("uncertainty"))
    if make_plan is None:
        make_plan = partial(plan_upscale, scale=scale, **settings)
    for job in jobs:
        shown = contextlib.nullcontext() if progress is None else progress(job)
        try:
            with shown as report:
                if run is not None:
                    outcome = run(job, report)
                else:
                    outcome = _run_job(job, make_plan, overwrite, report, uncertainty)
        except NothingToDo as reason:
            yield Skipped(job.input, reason)
        except SciSRError as error:
            yield Failure(job.input, error)
        except Exception as error:
            if os.environ.get("SCISR_DEBUG", "") not in ("", "0"):
                raise
            log.debug("unexpected", exc_info=True)
            yield Failure(
                job.input,
                SciSRError(
                    f"unexpected {type(error).__name__}: {error}",
                    where=job.input,
                    remedy="please report it; SCISR_DEBUG=1 shows where",
                ),
            )
        else:
            yield outcome


def upscale_batch(
    inputs: Sequence[Path | str],
    *,
    out_dir: Path | str | None = None,
    scale: str | float | Fraction = 2,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[Outcome | Failure | Skipped]:
    """Upscale many files; :func:`upscale_file` has the settings, :func:`plan_jobs` what is refused."""
    factors = parse_scale(scale)
    jobs = plan_jobs(inputs, out_dir=out_dir, scale=factors, overwrite=overwrite, options=options)
    return list(run_jobs(jobs, scale=factors, overwrite=overwrite, **settings))


def exit_code(results: Sequence[Outcome | Failure | Skipped]) -> int:
    """0 if all went well; the error's own code for a single input; 4 if any of several failed."""
    failures = [result for result in results if isinstance(result, Failure)]
    if not failures:
        return 0
    return failures[0].exit_code if len(results) == 1 else 4
