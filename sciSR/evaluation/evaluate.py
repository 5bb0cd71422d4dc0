"""Networks on a user's own sharp images: degrade, recover, compare. Nothing is written."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sciSR.errors import ModelError, SciSRError, SciSRWarning, UnsupportedError, UsageError
from sciSR.evaluation.measure import Report, Scores, measure
from sciSR.evaluation.methods import Method, all_classical, trained
from sciSR.evaluation.mr import oracles
from sciSR.evaluation.render import report
from sciSR.evaluation.select import Task, default_forward, select
from sciSR.evaluation.subject import PLANES, subject_of
from sciSR.evaluation.table import Table
from sciSR.image import Image
from sciSR.reading import gather
from sciSR.workflow.outputs import Job, find_inputs

Key = tuple[str, str, int]
"""Domain, forward model and scale: what one table is about."""


@dataclass(frozen=True)
class Measured:
    """One image's scores by one forward model at one scale."""

    image: str
    key: Key
    scores: Scores
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class Failure:
    """One input that could not be evaluated."""

    input: Path
    error: SciSRError

    def as_dict(self) -> dict[str, Any]:
        return {
            "input": str(self.input),
            "ok": False,
            "error": str(self.error),
            "exit_code": self.error.exit_code,
        }


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returns.

    Attributes
    ----------
    tables : tuple of Table
        One for each domain, forward model and scale.
    failures : tuple of Failure
    inputs : int
        How many files or folders there were.
    """

    tables: tuple[Table, ...]
    failures: tuple[Failure, ...] = ()
    inputs: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All tables and failures, JSON-ready but for NaN."""
        return {
            "tables": [table.as_dict() for table in self.tables],
            "failures": [failure.as_dict() for failure in self.failures],
        }

    @property
    def exit_code(self) -> int:
        """0 if all went well; the error's own if there was one input; 4 if any of several failed."""
        if not self.failures:
            return 0
        return self.failures[0].error.exit_code if self.inputs == 1 else 4

    def __str__(self) -> str:
        lines = [report(table) for table in self.tables]
        return "\n\n".join([*lines, *(f"failed: {failure.error}" for failure in self.failures)])


@dataclass
class Examiner:
    """Works through inputs with the methods that fit each.

    Parameters
    ----------
    tasks : sequence of Task
    forward : str, optional
        For the classical methods alone.
    scale : int, optional
        The same; 2 by default.
    planes : int
        At most so many planes of each image.
    device : str
    snr : float, optional
        Signal to noise of what the methods are given; noise-free by default.
    """

    tasks: Sequence[Task]
    forward: str | None = None
    scale: int | None = None
    planes: int = PLANES
    device: str = "auto"
    snr: float | None = None
    _networks: dict[tuple[str, int], Method] = field(default_factory=dict)

    def examine(self, job: Job, progress: Report | None = None) -> Iterator[Measured]:
        """All images of one input by all forward models that fit.

        Raises
        ------
        SciSRError
            The input can't be read, or no network fits it.
        """
        images = [image for image in read(job) if image.kind == "intensity"]
        if not images:
            raise UnsupportedError("holds only labels: nothing to be evaluated", where=job.input)
        plans = [(image, self.plan(image.domain)) for image in images]
        if not any(plan for _, plan in plans):
            domains = ", ".join(sorted({image.domain for image in images}))
            raise UsageError(
                f"no network of the group is for {domains} images",
                where=job.input,
                remedy="name one to insist",
            )
        total, done = sum(len(plan) for _, plan in plans), 0
        for image, plan in plans:
            name = f"{job.input.name}[{image.part}]" if len(images) > 1 and image.part else job.input.name
            subject = subject_of(image, self.planes, name) if plan else None
            for key, methods in plan.items():
                assert subject is not None

                def told(fraction: float, done: int = done) -> None:
                    if progress is not None:
                        progress((done + fraction) / total)

                exam = replace(subject, domain=key[0])
                scores = measure(exam, key[1], key[2], methods, report=told, snr=self.snr)
                yield Measured(name, key, scores, tuple(methods))
                done += 1

    def plan(self, domain: str) -> dict[Key, list[Method]]:
        """The methods for images of a domain, by what each table is about.

        A picture's file does not say whether it shows the sky: networks for photographs are scored as such.
        """
        if not self.tasks:
            key = (domain, self.forward or default_forward(domain), self.scale or 2)
            return {key: [*all_classical(), *oracles(key[1])]}
        plan: dict[Key, list[Method]] = {}
        for task in self.tasks:
            if task.fits(domain):
                scored_as = "generic" if task.spec.domain == "natural" else domain
                key = (scored_as, task.forward, task.scale)
                methods = plan.setdefault(key, [*all_classical(), *oracles(task.forward)])
                methods.append(self._network(task))
        return plan

    def _network(self, task: Task) -> Method:
        key = (task.weights, task.scale)
        if key not in self._networks:
            self._networks[key] = trained(task.weights, task.scale, device=self.device)
        return self._networks[key]


def read(job: Job) -> list[Image]:
    """The images of an input, lazily; raises what made it unreadable."""
    if job.problem is not None:
        raise job.problem
    adapter: Any = job.adapter
    reading = {option.name for option in adapter.options if not option.writes}
    options = {name: value for name, value in job.options.items() if name in reading}
    return adapter.read_files(job.files, **options) if job.files else adapter.read(job.input, **options)


def examine_all(
    examiner: Examiner,
    jobs: Sequence[Job],
    progress: Callable[[Job], AbstractContextManager[Report | None]] | None = None,
) -> Iterator[Measured | Failure]:
    """Every input in turn; one that fails does not stop the others."""
    for job in jobs:
        shown = nullcontext() if progress is None else progress(job)
        try:
            with shown as told:
                yield from examiner.examine(job, told)
        except ModelError:
            raise  # of the request, not of this input
        except SciSRError as error:
            yield Failure(job.input, error)
        except MemoryError:
            raise
        except Exception as error:
            if os.environ.get("SCISR_DEBUG", "") not in ("", "0"):
                raise
            text = f"unexpected {type(error).__name__}: {error}"
            remedy = "please report it; SCISR_DEBUG=1 shows where"
            yield Failure(job.input, SciSRError(text, where=job.input, remedy=remedy))


def checked_snr(snr: float | None) -> float | None:
    """A signal to noise that makes sense.

    Raises
    ------
    UsageError
        It is not a positive number.
    """
    if snr is not None and not (math.isfinite(snr) and snr > 0):
        raise UsageError(f"a signal to noise of {snr}", remedy="give a positive number")
    return snr


def collect(results: Iterable[Measured | Failure], inputs: int = 0) -> Evaluation:
    """Results as tables; an image's name that occurs twice gets a number."""
    rows: dict[Key, dict[str, Scores]] = {}
    methods: dict[Key, dict[str, Method]] = {}
    failures = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
            continue
        table, name, count = rows.setdefault(result.key, {}), result.image, 2
        while name in table:
            name, count = f"{result.image} ({count})", count + 1
        table[name] = result.scores
        methods.setdefault(result.key, {}).update({method.name: method for method in result.methods})
    tables = tuple(
        Table(
            f"{domain} {forward}",
            scale,
            rows[domain, forward, scale],
            {name: method.info for name, method in methods[domain, forward, scale].items()},
        )
        for domain, forward, scale in rows
    )
    return Evaluation(tables, tuple(failures), inputs)


def evaluate(
    models: str | Sequence[str],
    inputs: str | Path | Iterable[str | Path],
    *,
    forward: str | None = None,
    scale: int | None = None,
    planes: int = PLANES,
    device: str = "auto",
    snr: float | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """How well networks recover images that are known sharp.

    Each image is degraded by each network's own forward model, recovered by it and by every classical method, and
    compared with the truth. Nothing is written.

    Parameters
    ----------
    models : str or sequence of str
        Names of networks, paths of weights, ``"all"``, ``"all-mri-x2"``, ``"all-astro-x4"``; ``"classical"`` for the
        classical methods alone, which are always measured too.
    inputs : path, pattern or several
        Sharp images: FITS, NIfTI, DICOM, whatever an adapter reads.
    forward : {"kspace", "gaussian", "detector", "bicubic"}, optional
        Instead of each network's own.
    scale : int, optional
        For networks that serve several, and for the classical methods alone.
    planes : int
        At most so many planes of each volume or cube, the central ones.
    device : str
        As for :func:`sciSR.upscale`.
    snr : float, optional
        Add noise to what the methods are given, Rician for MR magnitudes: the image's bright end (99.5 % quantile)
        over the noise's standard deviation.
    options : mapping, optional
        Of the formats, for reading.
    progress : callable, optional
        ``progress(name of the input, fraction done)``.

    Returns
    -------
    Evaluation
        ``.tables``: per domain, forward model and scale, each image's scores, means with standard errors, and gains
        over the best classical method in each image; ``.failures``; ``str()`` of it is the report.

    Raises
    ------
    UsageError
        Unknown models, or no input.

    Examples
    --------
    >>> import sciSR
    >>> result = sciSR.evaluate("all-mri-x2", "check/*.nii.gz")            # doctest: +SKIP
    >>> result.tables[0].gain("ecbsr-mr-kspace-x2").mean                   # doctest: +SKIP
    """
    tasks = select(models, forward, scale)
    jobs = find_inputs(gather(inputs), options)
    examiner = Examiner(tasks, forward, scale, planes, device, checked_snr(snr))

    def shown(job: Job) -> AbstractContextManager[Report | None]:
        return nullcontext(None if progress is None else lambda done: progress(job.input.name, done))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        return collect(examine_all(examiner, jobs, shown), len(jobs))
