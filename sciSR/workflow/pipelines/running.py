"""One item through all steps of a pipeline, in this process: all of its outputs or none."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciSR.errors import ResourceError, SciSRError, UsageError
from sciSR.workflow.pipelines.commit import commit, journal_of, place_of, taken
from sciSR.workflow.pipelines.nodes import Node, chain
from sciSR.workflow.pipelines.products import linked, plain, suffix_of
from sciSR.workflow.pipelines.work import ItemResult, OutputFile, Product, Progress, Task, Work

log = logging.getLogger(__name__)

WEIGHTS = {
    "upscale": 20.0,
    "isotropic": 40.0,
    "fuse": 60.0,
    "register": 20.0,
    "calibrate": 5.0,
    "degrade": 5.0,
    "evaluate": 5.0,
    "verify": 5.0,
    "report": 5.0,
}
"""About how long steps take beside each other, for the fraction done; 1 for all others."""

MAKING = {"upscale", "isotropic", "degrade"}
"""Steps whose result is of their input's format, with the suffix that it has by default."""
KEEPING = {"read", "evaluate", "verify", "report", "write"} | MAKING
"""These, and those that change no file."""


def run_task(
    task: Task, progress: Progress | None = None, at_step: Callable[[str], None] | None = None
) -> ItemResult:
    """Work on one item; its outputs are in place when this returns a result that is ``done``, and none otherwise.

    Every step writes into a folder of its own below ``task.scratch``; when all have passed, the files that they gave
    for the output folder are hashed and renamed to their places. Doing it again gives the same.

    Parameters
    ----------
    task : Task
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    at_step : callable, optional
        Called with each step's id as it begins, and with an empty text at the commit: who watches can say where a crash
        was.

    Returns
    -------
    ItemResult
        Failed with the error's kind, message and exit code, and the step that it happened in; nothing is raised for
        what is wrong with an item.
    """
    start = time.perf_counter()
    run = _Run(task, progress or (lambda fraction: None), at_step or (lambda step: None))
    outputs: tuple[OutputFile, ...] = ()
    error: dict[str, Any] | None = None
    with _heard(run.warnings):
        try:
            outputs = run.all()
        except (Exception, RecursionError) as problem:
            if os.environ.get("SCISR_DEBUG", "") not in ("", "0"):
                log.exception("%s", task.key)
            error = run.told(problem)
        finally:
            shutil.rmtree(task.scratch, ignore_errors=True)
    return ItemResult(
        key=task.key,
        status="failed" if error else "done",
        outputs=outputs,
        steps=tuple(run.steps),
        error=error,
        warnings=tuple(dict.fromkeys(map(run.neutral, run.warnings))),
        seconds=round(time.perf_counter() - start, 3),
    )


class _Run:
    """One item on its way."""

    def __init__(self, task: Task, progress: Progress, at_step: Callable[[str], None]) -> None:
        self.task, self.progress, self.at_step = task, progress, at_step
        self.scratch = Path(task.scratch)
        self.products: dict[str | None, Product] = {}
        self.steps: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.at = ""
        self.done = 0.0
        self.total = sum(_weight(node) for node in task.nodes) or 1.0

    def all(self) -> tuple[OutputFile, ...]:
        """Every step, then the commit."""
        task = self.task
        shutil.rmtree(self.scratch, ignore_errors=True)  # of a run that was killed
        _make(self.scratch)
        names = self._names()
        self.products[None] = self._first()
        self._refuse_existing(names)
        for node in task.nodes:
            self._enter(node.id)
            self._step(node, names[node.id])
        self._enter("")
        outputs = commit(task, self._ready())
        self.progress(1.0)
        return outputs

    def _enter(self, step: str) -> None:
        self.at = step
        self.at_step(step)

    def _first(self) -> Product:
        files = tuple(Path(path) for path in self.task.files)
        if len(files) > 1 and not self.task.sequence:
            files = (linked(files, self.scratch / "input" / self.task.key),)
        return Product(files, self.task.sequence)

    def _names(self) -> dict[str, str]:
        """Each node's result by name, without suffix; those of different branches must differ where they are kept.

        Raises
        ------
        UsageError
        """
        from sciSR.workflow.pipelines.naming import fill

        names = {node.id: fill(self.task.name, self._facts(node)) for node in self.task.nodes}
        taken: dict[tuple[str, str], Node] = {}
        for node in self.task.nodes:
            if node.step not in ("write", "report") or node.parameters.get("output"):
                continue
            other = taken.setdefault((node.step, names[node.id]), node)
            if other.branch != node.branch:
                raise UsageError(
                    f"the branches {other.branch} and {node.branch} would both be called {names[node.id]}",
                    where=self.task.key,
                    remedy=f"put {{branch}} into the outputs' name, which is {self.task.name!r}",
                )
        return names

    def _refuse_existing(self, names: Mapping[str, str]) -> None:
        """Say before any work what the commit would say after it, as far as names are known by then.

        Raises
        ------
        UsageError
        """
        from sciSR.workflow.pipelines.naming import fill

        task = self.task
        if task.overwrite or task.may_replace or journal_of(task).exists():
            return
        for node in task.nodes:
            own = node.parameters.get("output")
            suffix = self._suffix(node)
            if suffix is not None:
                name = names[node.id] if own is None else fill(own, self._facts(node))
                if os.path.lexists(place := place_of(Path(task.output), f"{name}{suffix}")):
                    raise taken(place)

    def _suffix(self, node: Node) -> str | None:
        """Of what a node puts into the output folder; None where it puts nothing there, or that is not known yet."""
        from sciSR.plugins import adapter_for

        if node.step == "report":
            return ".html"
        if node.step != "write":
            return None
        if node.parameters.get("format"):
            return f".{node.parameters['format'].lstrip('.')}"
        before = {each.step for each in chain(self.task.nodes, node)}
        files = self.products[None].files
        if not before <= KEEPING or not before & MAKING or len(files) != 1:
            return None
        with contextlib.suppress(SciSRError):  # the first step says what is wrong with the file
            return suffix_of(adapter_for(files[0]), files[0])
        return None

    def _facts(self, node: Node) -> dict[str, str]:
        return {"item": self.task.key, **self.task.facts, "branch": node.branch}

    def _step(self, node: Node, name: str) -> None:
        from sciSR.workflow.pipelines.registry import steps

        known = steps().get(node.step)
        if known is None:
            raise UsageError(
                f"no step is called {node.step!r}", remedy="is the plugin that has it installed here too?"
            )
        folder = self.scratch / node.id
        _make(folder)
        line = chain(self.task.nodes, node)
        weight = _weight(node)

        def told(fraction: float) -> None:
            self.progress(min(0.99, (self.done + weight * min(max(fraction, 0.0), 1.0)) / self.total))

        work = Work(
            key=self.task.key,
            facts=self._facts(node),
            product=replace(self.products[node.parent], ready={}),
            # The item itself goes by no name: what was made first is held against it.
            earlier={"": self.products[None], **{each.name: self.products[each.id] for each in line[:-1]}},
            name=name,
            folder=folder,
            input=Path(self.task.input),
            progress=told,
        )
        start = time.perf_counter()
        product = known.function(work, **self._parameters(node, known.function))
        if not isinstance(product, Product):
            raise TypeError(f"the step {node.step} returned {type(product).__name__}, not a Product")
        self.products[node.id] = product
        seconds = time.perf_counter() - start
        self.steps.append(
            {
                "id": node.id,
                "step": node.step,
                "branch": node.branch,
                "seconds": round(seconds, 3),
                "messages": [self.neutral(message) for message in product.messages],
                "record": self._neutral_record(plain(product.record)),
            }
        )
        log.info("%s: %s: %.1f s", self.task.key, node.id, seconds)
        self.done += weight
        self.progress(min(0.99, self.done / self.total))

    def _parameters(self, node: Node, function: Any) -> dict[str, Any]:
        """Those of the node; the item's seed where the step is random and none was given."""
        given = dict(node.parameters)
        if "seed" in inspect.signature(function).parameters and given.get("seed") is None:
            given["seed"] = self.task.seed
        return given

    def _ready(self) -> dict[str, Path]:
        """All files for the output folder by name.

        Raises
        ------
        UsageError
            Two of one name.
        """
        found: dict[str, Path] = {}
        for node in self.task.nodes:
            for name, path in self.products[node.id].ready.items():
                if name in found:
                    raise UsageError(
                        f"two outputs would be called {name}",
                        where=self.task.key,
                        remedy="put {branch} into the outputs' name, or give one step an 'output' of its own",
                    )
                found[name] = path
        return found

    # -- what is said ----------------------------------------------------------------------------------------------

    def told(self, problem: BaseException) -> dict[str, Any]:
        """An error as the result has it: one line, without folders."""
        if isinstance(problem, MemoryError):
            problem = ResourceError("out of memory", where=self.task.key, remedy="give a smaller tile")
        elif isinstance(problem, OSError) and not isinstance(problem, SciSRError):
            problem = ResourceError(
                f"can't be read or written: {problem.strerror or problem}", where=self.task.key
            )
        elif not isinstance(problem, SciSRError):
            log.debug("unexpected", exc_info=problem)
            problem = SciSRError(
                f"unexpected {type(problem).__name__}: {problem}",
                where=self.task.key,
                remedy="please report it; SCISR_DEBUG=1 shows where",
            )
        return {
            "kind": type(problem).__name__,
            "message": self.neutral(str(problem)),
            "exit_code": problem.exit_code,
            "step": self.at,
        }

    def neutral(self, text: str) -> str:
        """A message without the folders that the work is done in, and without names that tell of a patient."""
        for folder in (self.task.scratch, self.task.input, self.task.output):
            text = text.replace(f"{folder}{os.sep}", "")
        return _neutral(text, self.task.files)

    def _neutral_record(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.neutral(value)
        if isinstance(value, Mapping):
            return {key: self._neutral_record(each) for key, each in value.items()}
        return [self._neutral_record(each) for each in value] if isinstance(value, list) else value


def _neutral(text: str, files: Sequence[str]) -> str:
    from sciSR.workflow.stack_names import record_name

    for file in files:
        path = Path(file)
        for each in (path, path.parent):
            if each.name and each.name in text:
                text = text.replace(each.name, record_name(path, each.name))
    return text


def _weight(node: Node) -> float:
    return WEIGHTS.get(node.step, 1.0)


def _make(folder: Path) -> None:
    from sciSR.files import translate_os_errors

    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _heard(said: list[str]) -> Iterator[None]:
    """Warnings for the result; they are logged, not printed."""
    import warnings

    from sciSR.workflow.run import overheard

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest, **more: log.debug("%s", message)
        with overheard(said):
            yield
