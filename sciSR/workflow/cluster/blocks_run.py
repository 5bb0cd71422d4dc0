"""Upscale a very large image by blocks over workers: planned once, computed anywhere, committed at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sciSR import __version__
from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.choose import parse_scale
from sciSR.inference.record import upscale_step
from sciSR.inference.statistics import plane_indices
from sciSR.provenance import file_sha256
from sciSR.workflow.cluster.blocks import DEFAULT_SIDE, Block, Shape, plan_blocks
from sciSR.workflow.cluster.blocks_compute import merged
from sciSR.workflow.cluster.blocks_journal import Journal
from sciSR.workflow.cluster.blocks_pool import BlockExecutor, LocalWorkers
from sciSR.workflow.cluster.blocks_state import models_from, plan_from, shape_of, state_of
from sciSR.workflow.cluster.blocks_worker import checked_images, fingerprint
from sciSR.workflow.outcome import Outcome, PartOutcome
from sciSR.workflow.outputs import Job, plan_jobs
from sciSR.workflow.run import out_of_memory_named, overheard

log = logging.getLogger(__name__)

Progress = Callable[[float], None]


def upscale_blocks(
    path: Path | str,
    output: Path | str | None = None,
    *,
    scale: str | float | Fraction | tuple[Fraction, Fraction] = 2,
    model: str = "auto",
    workers: int | None = None,
    cluster: str | None = None,
    executor: BlockExecutor | None = None,
    block: int | tuple[int, int] = DEFAULT_SIDE,
    overwrite: bool = False,
    resume: bool = True,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Outcome:
    """Upscale one very large file by blocks over workers; the pixels are those of :func:`upscale_file` to the bit.

    The image is read once for what is decided for the whole of it (method, statistics, bad pixels). Workers read only
    what their block depends on and write its pixels straight into the output's temporary file. A journal beside it
    names the finished blocks: a run that was killed goes on where it was when it is started again.

    Parameters
    ----------
    path : path
    output : path, optional
        FITS (uncompressed) or OME-Zarr. Beside the input with ``_x2`` in its name by default.
    scale, model
        As for :func:`sciSR.inference.plan_upscale`.
    workers : int, optional
        Processes of this machine; 2 by default, or as many as there are cores if that is less.
    cluster : str, optional
        A Dask cluster instead: ``tcp://host:8786``, ``local:3``, or a YAML file; see docs/cluster.md. Its workers must
        see input and output under the same paths.
    executor : BlockExecutor, optional
        What runs the blocks instead, e.g. :class:`sciSR.workflow.cluster.blocks_dask.DaskBlocks` of a client.
    block : int or pair of int
        Output rows and columns of a block, rounded up to whole tiles.
    overwrite : bool
        Replace an existing output.
    resume : bool
        Go on with what an earlier run of the same input and settings has left.
    options : mapping, optional
        The format's own options.
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    **settings
        ``consistency``, ``device``, ``precision``, ``tile``, ``forward``, ``noise``, ``psf_fwhm``, ``strict``.

    Returns
    -------
    Outcome

    Raises
    ------
    SciSRError
        Naming the file, what is wrong, and what to do. Finished blocks are kept for another run.
    """
    factors = parse_scale(scale)
    [job] = plan_jobs([path], output=output, scale=factors, overwrite=overwrite, options=options)
    return run_job(
        job,
        progress,
        factors=factors,
        model=model,
        workers=workers,
        cluster=cluster,
        executor=executor,
        block=block,
        overwrite=overwrite,
        resume=resume,
        **settings,
    )


def run_job(
    job: Job,
    progress: Progress | None = None,
    *,
    factors: tuple[Fraction, Fraction],
    model: str = "auto",
    workers: int | None = None,
    cluster: str | None = None,
    executor: BlockExecutor | None = None,
    block: int | tuple[int, int] = DEFAULT_SIDE,
    overwrite: bool = False,
    resume: bool = True,
    **settings: Any,
) -> Outcome:
    """A planned job by blocks; see :func:`upscale_blocks`."""
    start = time.perf_counter()
    _check(job, settings)
    run = _Run.of(
        job, {"model": model, **settings}, factors, (block, block) if isinstance(block, int) else block
    )
    said: list[str] = []
    with out_of_memory_named(job.input), overheard(said), Journal(run.journal_path) as journal:
        try:
            with _executor(executor, cluster, workers) as chosen:  # a cluster that is not there is said first
                run.prepare(journal, resume=resume)
                written, finals = run.work(journal, chosen, overwrite=overwrite, progress=progress)
        except BaseException:
            if not journal.done:  # nothing that another run could go on with
                _throw_away(run.temporary)
            raise
        journal.remove()
    parts = tuple(
        PartOutcome(final.part, image.shape, final.shape, final.provenance.steps[-1], tuple(each["messages"]))
        for image, final, each in zip(run.images, finals, run.states, strict=True)
    )
    assert job.adapter is not None
    seconds = time.perf_counter() - start
    return Outcome(job.input, written, job.adapter.name, run.sha256, parts, tuple(said), seconds)


@contextlib.contextmanager
def _executor(
    given: BlockExecutor | None, cluster: str | None, workers: int | None
) -> Iterator[BlockExecutor]:
    """The one given, a cluster's, or processes of this machine."""
    if given is not None:
        yield given
    elif cluster is not None:
        from sciSR.workflow.cluster.blocks_dask import DaskBlocks
        from sciSR.workflow.cluster.connect import Connection

        with Connection(cluster) as connection:
            yield DaskBlocks(connection.client, threads=connection.threads)
    else:
        yield LocalWorkers(workers or min(2, os.cpu_count() or 1))


def _check(job: Job, settings: Mapping[str, Any]) -> None:
    """Refuse early what can't be computed or written by blocks."""
    if job.problem is not None:
        raise job.problem
    assert job.writer is not None
    if job.files:
        raise UnsupportedError("a series of files is not computed by blocks", where=job.input)
    if not hasattr(job.writer, "open_shared"):
        raise UsageError(
            f"{job.writer.name} files can't be written by blocks",
            where=job.output,
            remedy="give a name in .fits or .ome.zarr, or run it without blocks",
        )
    if settings.get("uncertainty"):
        raise UnsupportedError(
            "an uncertainty is not computed by blocks", where=job.input, remedy="leave one of the two out"
        )


@dataclass
class _Run:
    """One input on its way: what was decided, and where it is written."""

    job: Job
    settings: Mapping[str, Any]
    factors: tuple[Fraction, Fraction]
    side: tuple[int, int]
    key: str
    images: Sequence[Image] = ()
    states: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[Mapping[str, Any]] = ()
    sha256: str = ""

    @classmethod
    def of(
        cls, job: Job, settings: Mapping[str, Any], factors: tuple[Fraction, Fraction], side: tuple[int, int]
    ) -> _Run:
        """The key says which run it is: the same input, settings, software and output."""
        what = {
            "input": str(job.input.resolve()),
            "fingerprint": fingerprint(job.input),
            "options": dict(job.options),
            "settings": dict(settings),
            "factors": [str(f) for f in factors],
            "software": __version__,
            "output": str(job.output),
        }
        text = json.dumps(what, sort_keys=True, default=str)
        return cls(job, settings, factors, side, hashlib.sha256(text.encode()).hexdigest()[:12])

    @property
    def target(self) -> Path:
        assert self.job.output is not None
        return self.job.output

    def _beside(self, suffix: str) -> Path:
        return self.target.with_name(f".{self.target.name[:80]}.{self.key}.blocks{suffix}")

    @property
    def journal_path(self) -> Path:
        return self._beside(".jsonl")

    @property
    def temporary(self) -> Path:
        return self._beside(".tmp")

    @property
    def read_options(self) -> dict[str, Any]:
        assert self.job.adapter is not None
        reading = {option.name for option in self.job.adapter.options if not option.writes}
        return {name: value for name, value in self.job.options.items() if name in reading}

    # -- what is decided once -------------------------------------------------------------------------------------

    def prepare(self, journal: Journal, *, resume: bool) -> None:
        """Plan, or take the plan of the run that is gone on with."""
        path = self.job.input
        known = journal.head is not None and resume and self.temporary.exists()
        if known:
            assert journal.head is not None
            self.images = checked_images(path, self.read_options)
            self.sha256 = journal.head["input_sha256"]
        else:
            assert self.job.adapter is not None
            self.images = self.job.adapter.read(path, **self.read_options)
            if not self.images:
                raise UnsupportedError("holds no image", where=path)
            self.sha256 = file_sha256(path)
            _throw_away(self.temporary)
            self._throw_others_away()
            journal.begin({"key": self.key, "input_sha256": self.sha256, "parts": self._decide()})
        assert journal.head is not None
        self.states = [part["state"] for part in journal.head["parts"]]
        self.steps = [part["step"] for part in journal.head["parts"]]
        record = {"software": f"sciSR {__version__}", "step": "read", "input_sha256": self.sha256}
        self.images = [image.replace(provenance=image.provenance.add(**record)) for image in self.images]

    def _throw_others_away(self) -> None:
        """What killed runs of other inputs or settings have left for the same output."""
        start = f".{self.target.name[:80]}."
        for path in self.target.parent.iterdir():
            mine = path.name.startswith(start) and path.name.endswith(".blocks.jsonl")
            if not mine or path == self.journal_path:
                continue
            with contextlib.suppress(UsageError), Journal(path) as other:  # locked: that run lives
                _throw_away(path.with_name(path.name.removesuffix(".jsonl") + ".tmp"))
                other.remove()

    def _decide(self) -> list[dict[str, Any]]:
        parts = []
        for image in self.images:
            plan: Any = plan_upscale(image, self.factors, **self.settings)
            shape = shape_of(plan)
            if shape.whole:
                plan.messages.append(f"{shape.whole}, so blocks are whole planes")
            parts.append({"state": state_of(plan, shape.tile), "step": upscale_step(plan, None)})
        return parts

    # -- the work ---------------------------------------------------------------------------------------------------

    def work(
        self, journal: Journal, executor: BlockExecutor, *, overwrite: bool, progress: Progress | None
    ) -> tuple[Path, list[Image]]:
        """Compute what is not done yet, finish the file, rename it."""
        plans = [
            plan_from(state, image, models=models_from(state, image.domain))
            for state, image in zip(self.states, self.images, strict=True)
        ]
        shapes = [shape_of(plan) for plan in plans]
        planes = [len(plane_indices(image)) for image in self.images]
        blocks = plan_blocks(shapes, planes, self.side)
        writes = self.job.writer
        assert writes is not None
        outputs = [self._as_written(plan.output) for plan in plans]
        writer = writes.open_shared(  # type: ignore[attr-defined]
            self.target, outputs, temporary=self.temporary, overwrite=overwrite, align=_alignment(shapes)
        )
        with writer:
            self._compute(blocks, journal, executor, writer, progress)
            finals = [self._final(plan, part, blocks, journal) for part, plan in enumerate(plans)]
            return writer.commit([self._as_written(final) for final in finals]), finals

    def _compute(
        self,
        blocks: Sequence[Block],
        journal: Journal,
        executor: BlockExecutor,
        writer: Any,
        progress: Progress | None,
    ) -> None:
        self._check_cut(blocks, journal)
        todo = [block for block in blocks if block.number not in journal.done]
        log.info("%s: %d of %d blocks to do", self.job.input, len(todo), len(blocks))
        assert self.job.writer is not None
        common = {
            "path": str(self.job.input.resolve()),
            "options": self.read_options,
            "fingerprint": fingerprint(self.job.input),
            "adapter": self.job.writer.name,
        }
        orders = [
            {
                **common,
                "state": self.states[block.part],
                "block": block.as_dict(),
                "ticket": writer.ticket(block.part),
            }
            for block in todo
        ]
        with contextlib.closing(executor.run(orders)) as answers:  # type: ignore[type-var]
            for answer in answers:
                journal.finish(answer)
                if progress is not None:
                    progress(len(journal.done) / len(blocks))

    def _check_cut(self, blocks: Sequence[Block], journal: Journal) -> None:
        """Numbers mean something only for the same cut; with another all blocks are done again."""
        assert journal.head is not None
        cut = hashlib.sha256(json.dumps([block.as_dict() for block in blocks]).encode()).hexdigest()
        if journal.head.get("cut") != cut:
            journal.begin({**journal.head, "cut": cut})

    def _final(self, plan: Any, part: int, blocks: Sequence[Block], journal: Journal) -> Image:
        """The output of one image with the agreement of all its blocks."""
        found = [journal.done[block.number]["agreement"] for block in blocks if block.part == part]
        agreement = merged(plan.factors, plan.operator, float(plan.share), found)
        report = plan.replicated(agreement) if plan.is_replication else plan.measured(agreement)
        step = dict(self.steps[part])
        if report is not None:
            step["agreement"] = dict(report)
        return plan.output.replace(provenance=plan.image.provenance.add(**step))

    def _as_written(self, image: Image) -> Image:
        """The header of one format means nothing to the writer of another."""
        return image if self.job.converter is None else image.replace(metadata=None)


def _alignment(shapes: Sequence[Shape]) -> tuple[int, int]:
    """Output rows and columns at whose multiples all blocks begin."""
    aligned = []
    for axis in (0, 1):
        units = [s.fine[axis] if s.whole else min(s.unit(axis), s.fine[axis]) for s in shapes]
        aligned.append(math.gcd(*units))
    return aligned[0], aligned[1]


def _throw_away(temporary: Path) -> None:
    """What an earlier run has left and nobody goes on with."""
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)
