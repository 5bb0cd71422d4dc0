"""A pipeline: read from a file, planned over a folder, run to results."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sciSR.errors import UsageError
from sciSR.workflow.batch.filesystem import SCRATCH, STATE
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.nodes import Node, compile_steps, with_overrides
from sciSR.workflow.pipelines.results import Planned, RunPlan, RunResult, failure
from sciSR.workflow.pipelines.work import ItemResult, Task

if TYPE_CHECKING:
    from sciSR.workflow.batch.ledger import Ledger
    from sciSR.workflow.batch.watch import Watch
    from sciSR.workflow.cluster.shard import Shard
    from sciSR.workflow.pipelines.config import Limits


class Executor(Protocol):
    """Runs tasks: in worker processes here, or on a cluster."""

    def run(self, tasks: Iterable[Task], watch: Watch | None = None) -> Iterator[ItemResult]:
        """Results as they come; closing the iterator stops what is running."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """Inputs, steps and outputs as a file names them.

    >>> import sciSR
    >>> pipeline = sciSR.Pipeline.from_file("telescope_night.yaml")   # doctest: +SKIP
    >>> run = pipeline.run("night/", "out/", jobs=4)                  # doctest: +SKIP
    >>> run.exit_code, [result.key for result in run.failures]        # doctest: +SKIP

    Attributes
    ----------
    config : PipelineFile
        The checked file; see ``scisr schema``.
    path : Path or None
        Folders in the file are relative to where it lies.
    """

    config: Any
    path: Path | None = None
    nodes: tuple[Node, ...] = field(default=(), repr=False)

    @classmethod
    def from_file(cls, path: Path | str, sets: Iterable[str] = ()) -> Pipeline:
        """Read a YAML file.

        Parameters
        ----------
        path : path
        sets : iterable of str
            ``limits.memory=4 GB``, ``steps.3.scale=4``: values that replace the file's; counted from 0.

        Raises
        ------
        UsageError
            All faults of the file in one message, each with its key and line.
        """
        from sciSR.workflow.pipelines.loading import load_pipeline

        config, _ = load_pipeline(path, sets)
        return cls(config, Path(path), compile_steps(config.steps))  # type: ignore[attr-defined]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pipeline:
        """A pipeline from plain values, as a file would hold them.

        Raises
        ------
        UsageError
        """
        from sciSR.workflow.pipelines.loading import check_pipeline

        config = check_pipeline(values, "pipeline")
        return cls(config, None, compile_steps(config.steps))

    # -- what will be done ----------------------------------------------------------------------------------------

    def folders(self, input: Path | str | None, output: Path | str | None) -> tuple[Path, Path]:
        """Absolute folders of inputs and outputs: as given, or as the file says.

        Raises
        ------
        UsageError
            Neither says it, there is no such input folder, or both are the same.
        """
        source = self._input(input)
        target = self._folder(output, self.config.outputs.folder, "--output")
        if source.resolve() == target.resolve():
            raise UsageError(
                "the outputs would lie among the inputs", where=target, remedy="name another --output"
            )
        return source, target

    def _input(self, given: Path | str | None) -> Path:
        source = self._folder(given, self.config.inputs.folder, "--input")
        if not source.exists():
            raise UsageError("no such input folder", where=source)
        return source

    def _folder(self, given: Path | str | None, said: str | None, option: str) -> Path:
        here = Path.cwd() if self.path is None else self.path.resolve().parent
        if given is None and said is None:
            raise UsageError(
                f"no folder for the {option[2:]}s",
                where=self.path,
                remedy=f"give {option} FOLDER, or '{option[2:]}s: {{folder: ...}}' in the file",
            )
        return Path(given).absolute() if given is not None else (here / str(said)).absolute()

    def items(self, input: Path | str | None = None, output: Path | str | None = None) -> list[Item]:
        """What there is to work on, in a fixed order; without what lies in the output folder, if there is one.

        Raises
        ------
        UsageError
            No file fits.
        """
        from sciSR.workflow.pipelines.clashes import without_clashes
        from sciSR.workflow.pipelines.finding import find_items, spoken_of

        known = output is not None or self.config.outputs.folder is not None
        source, target = self.folders(input, output) if known else (self._input(input), None)
        wanted = spoken_of(self.config, self.nodes)
        found = find_items(self.config.inputs, source, without=target, wanted=wanted)
        return without_clashes(found, self.config.outputs.name, lambda item: self._nodes_of(item, source))

    def task(self, item: Item, source: Path, target: Path, *, overwrite: bool = False) -> Task:
        """All that a worker needs to know of one item, its overrides applied."""
        digest = hashlib.sha256(item.key.encode()).hexdigest()
        return Task(
            key=item.key,
            files=tuple(str(path.absolute()) for path in item.files),
            facts=dict(item.facts),
            sequence=item.sequence,
            nodes=self._nodes_of(item, source),
            name=self.config.outputs.name,
            input=str(source),
            output=str(target),
            scratch=str(target / STATE / SCRATCH / digest[:16]),
            overwrite=overwrite,
            seed=(self.config.seed + int(digest[:8], 16)) % 2**31,
        )

    def _nodes_of(self, item: Item, source: Path) -> tuple[Node, ...]:
        """The steps with this item's parameters; later overrides win."""
        from sciSR.workflow.pipelines.finding import matches
        from sciSR.workflow.pipelines.registry import steps

        changes: dict[str, dict[str, Any]] = {}
        skip: list[str] = []
        for override in self.config.overrides:
            if matches(override, item, source):
                skip += override.skip
                for name, values in override.set.items():
                    changes.setdefault(name, {}).update(values)
        checked: dict[str, Mapping[str, Any]] = {}
        for node in self.nodes:
            if node.name in changes:
                values = {"step": node.step, **node.parameters, **changes[node.name]}
                new = steps()[node.step].entry.model_validate(values).parameters()
                checked[node.name] = {key: new[key] for key in changes[node.name]}
        return with_overrides(self.nodes, checked, skip)

    def plan(
        self,
        input: Path | str | None = None,
        output: Path | str | None = None,
        *,
        shard: Shard | str | None = None,
        overwrite: bool = False,
    ) -> RunPlan:
        """What a run would do: of each item its steps, about its time and memory, and whether it is done already.

        Nothing is written, not even the output folder.
        """
        from sciSR.workflow.batch.ledger import Ledger
        from sciSR.workflow.batch.logs import without_names
        from sciSR.workflow.pipelines.estimates import estimate

        source, target = self.folders(input, output)
        part = _shard(shard)
        items = _of_shard(self.items(source, target), part)
        planned = []
        with Ledger.read(target) as ledger:
            past = ledger.past()
            for item in items:
                task = self.task(item, source, target, overwrite=overwrite)
                if item.problem is not None:
                    why = without_names(str(item.problem), task)
                    planned.append(Planned(task, None, why, failing=True))
                    continue
                why = ledger.why(task)
                planned.append(Planned(task, None if why == "done" else estimate(task, past), why))
        return RunPlan(self.config.pipeline, source, target, tuple(planned))

    # -- doing it -------------------------------------------------------------------------------------------------

    def run(
        self,
        input: Path | str | None = None,
        output: Path | str | None = None,
        *,
        jobs: int | str = 1,
        resume: bool = False,
        overwrite: bool = False,
        shard: Shard | str | None = None,
        cluster: str | None = None,
        limits: Limits | None = None,
        watch: Watch | None = None,
        command: Sequence[str] = (),
    ) -> RunResult:
        """Work on every item, each in a process of its own; one that fails does not stop the others.

        Parameters
        ----------
        input, output : path, optional
            Folders; by default what the file says. The output folder is made if missing.
        jobs : int or "auto"
            Items at a time, on this machine.
        resume : bool
            Skip items that are done: the same inputs and parameters, and all outputs there with the bytes that were
            written. What changed is done again, over the outputs of the run before.
        overwrite : bool
            Do everything again, over whatever is there.
        shard : str, optional
            ``"3/64"``: only this part of the items.
        cluster : str, optional
            Run on a Dask cluster: ``tcp://host:8786``, ``local:3``, or a YAML file; see docs/cluster.md.
        limits : Limits, optional
            Time and memory of each item and retries, instead of the file's.
        watch : Watch, optional
            Told what is going on.
        command : sequence of str
            For the record.

        Returns
        -------
        RunResult
            Of each item what became of it, in the order of the items.

        Raises
        ------
        UsageError
            Nothing to work on, outputs that exist already and are not to be replaced, another run at work.
        ResourceError
            The disk has no room for the outputs.
        """
        from sciSR.workflow.batch.ledger import Ledger
        from sciSR.workflow.batch.logs import result_without_names
        from sciSR.workflow.batch.summary import check_summary, write_summary
        from sciSR.workflow.cluster.reclaiming import reclaim

        start = time.perf_counter()
        source, target = self.folders(input, output)
        part = _shard(shard)
        items = _of_shard(self.items(source, target), part)
        _make(target)
        if watch is not None:
            watch.expected(len(items))
        done: dict[str, ItemResult] = {}
        name = "ledger" if part is None else part.ledger_name
        with Ledger.open(target, name=name) as ledger:
            if ledger.results() and not (resume or overwrite):
                raise UsageError(
                    "an earlier run has left its outputs here",
                    where=target,
                    remedy="give --resume to go on, --overwrite to do it all again, or another --output",
                )
            check_summary(target, ledger)
            ledger.begin(self.config.model_dump(mode="json"), command=list(command))
            tasks = [self.task(item, source, target, overwrite=overwrite) for item in items]
            for item, task in zip(items, tasks, strict=True):
                if item.problem is not None:
                    # Its file was named before anybody knew what is recorded.
                    done[item.key] = result_without_names(failure(item.key, item.problem), task)
                    ledger.record(task, done[item.key])
                    _tell(watch, done[item.key])
            # What workers of a killed run had finished on a cluster, and nobody had heard of, is the ledger's now.
            reclaim(ledger, tasks)
            todo = self._todo([t for t in tasks if t.key not in done], ledger, done, resume, overwrite, watch)
            _check_space(target, todo)
            run = RunResult(self.config.pipeline, source, target, (), 0.0)
            try:
                with ExitStack() as stack:
                    executor = self._executor(stack, jobs, cluster, limits, target, name)
                    results = stack.enter_context(closing(executor.run(_begun(todo, ledger), watch)))  # type: ignore[type-var]
                    by_key = {task.key: task for task in todo}
                    for result in results:
                        ledger.record(by_key[result.key], result)
                        done[result.key] = result
                        _tell(watch, result)
            finally:
                run = dataclasses.replace(
                    run,
                    results=tuple(done[item.key] for item in items if item.key in done),
                    seconds=time.perf_counter() - start,
                    total=len(items),
                )
                run = run.with_files(write_summary(target, run, ledger, ended=sys.exception()))
        return run

    def _todo(
        self,
        tasks: Sequence[Task],
        ledger: Ledger,
        done: dict[str, ItemResult],
        resume: bool,
        overwrite: bool,
        watch: Watch | None,
    ) -> list[Task]:
        """The tasks that are left; those that are done go to `done`."""
        todo = []
        for task in tasks:
            found = ledger.finished(task) if resume and not overwrite else None
            if found is None:
                # A run that is resumed may replace what it made itself; nothing else.
                own = tuple(ledger.outputs_of(task.key)) if resume else ()
                todo.append(dataclasses.replace(task, may_replace=own))
                continue
            done[task.key] = found
            ledger.record(task, found)
            _tell(watch, found)
        return todo

    def _executor(
        self,
        stack: ExitStack,
        jobs: int | str,
        cluster: str | None,
        limits: Limits | None,
        target: Path,
        name: str,
    ) -> Executor:
        wanted = self.config.limits if limits is None else limits
        logs = target / STATE / "logs"
        if cluster is not None:
            from sciSR.workflow.cluster.executor import ClusterExecutor

            return stack.enter_context(ClusterExecutor(cluster, wanted, logs=logs, output=target, name=name))
        from sciSR.workflow.batch.supervisor import ProcessExecutor

        return ProcessExecutor(jobs, wanted, logs)


def _shard(shard: Shard | str | None) -> Shard | None:
    if isinstance(shard, str):
        from sciSR.workflow.cluster.shard import parse_shard

        return parse_shard(shard)
    return shard


def _of_shard(items: list[Item], shard: Shard | None) -> list[Item]:
    return items if shard is None else [item for item in items if shard.holds(item.key)]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the output folder: {error.strerror}", where=folder) from error


def _begun(tasks: Iterable[Task], ledger: Ledger) -> Iterator[Task]:
    """Each task, noted in the ledger as it is drawn."""
    for task in tasks:
        ledger.started(task)
        yield task


def _check_space(target: Path, tasks: Sequence[Task]) -> None:
    from sciSR.workflow.batch.space import check_space
    from sciSR.workflow.pipelines.estimates import estimate

    if tasks:
        needs = [estimate(task) for task in tasks]
        # Outputs are made in the scratch folder and moved; the largest item's intermediate files come on top.
        largest = max(need.scratch_bytes for need in needs)
        check_space(target, sum(need.output_bytes for need in needs) + largest)


def _tell(watch: Watch | None, result: ItemResult) -> None:
    if watch is not None:
        watch.finished(result)
