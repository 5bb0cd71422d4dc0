"""Send mutated files through what a user does, and judge what comes of each.

python -m tests.fuzz --n 20000 --seed 1 --jobs 2 --json out.jsonl
python -m tests.fuzz --format fits,nifti --n 1000
python -m tests.fuzz --replay 1:fits/mef:17 --keep bad/
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import fuzz_seeds
from fuzz_mutations import Case, build
from fuzz_watching import Watched

DEFECTS = ("traceback", "wrong grid", "litter", "hang", "memory", "crash")
OUTCOMES = ("same", "refused", "warned", "changed")


def cases(names: Sequence[str], count: int, seed: int) -> Iterator[Case]:
    """`count` inputs, spread evenly over the honest files."""
    pairs = ((number, name) for number in itertools.count() for name in names)
    for number, name in itertools.islice(pairs, count):
        yield Case(seed, name, number)


def fuzz(
    count: int,
    seed: int,
    *,
    formats: tuple[str, ...] = (),
    jobs: int = 2,
    only: Sequence[Case] | None = None,
    tell: Callable[[Case, dict[str, Any]], None] | None = None,
) -> list[tuple[Case, dict[str, Any]]]:
    """Run many inputs in `jobs` watched processes.

    Parameters
    ----------
    count, seed : int
    formats : tuple of str
        ``"fits"`` or ``"fits/mef"``; all by default.
    jobs : int
    only : sequence of Case, optional
        These, instead.
    tell : callable, optional
        Told each result as it comes.

    Returns
    -------
    list of (Case, dict)
        See :meth:`fuzz_watching.Watched.run`.
    """
    found = fuzz_seeds.seeds(formats)
    with tempfile.TemporaryDirectory(prefix="scisr-fuzz-") as folder:
        for each in fuzz_seeds.seeds(tuple({each.format for each in found.values()})).values():
            fuzz_seeds.make(each, Path(folder))
        workers: SimpleQueue[Watched] = SimpleQueue()
        pool = [Watched(Path(folder)) for _ in range(jobs)]
        for worker in pool:
            workers.put(worker)

        def one(batch: list[Case]) -> list[tuple[Case, dict[str, Any]]]:
            worker = workers.get()
            try:
                results = []
                for case in batch:
                    results.append((case, worker.run(case)))
                    if tell is not None:
                        tell(*results[-1])
                return results
            finally:
                workers.put(worker)

        # Inputs of one honest file stay together: a process then measures few of them.
        planned = list(cases(list(found), count, seed) if only is None else only)
        groups = [
            list(group)
            for _, group in itertools.groupby(sorted(planned, key=lambda c: c.name), lambda c: c.name)
        ]
        try:
            with ThreadPoolExecutor(jobs) as threads:
                return [result for batch in threads.map(one, groups) for result in batch]
        finally:
            for worker in pool:
                worker.stop()


def table(results: Sequence[tuple[Case, dict[str, Any]]], by: Callable[[Case], str]) -> str:
    """Counts as Markdown."""
    counts: dict[str, Counter[str]] = {}
    for case, result in results:
        counts.setdefault(by(case), Counter())[result["outcome"]] += 1
    lines = ["| set (n) | identical | refused | changed + warning | changed | " + " | ".join(DEFECTS) + " |"]
    lines.append("|---" * (5 + len(DEFECTS)) + "|")
    for name, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        numbers = [str(count[key]) for key in (*OUTCOMES, *DEFECTS)]
        lines.append(f"| {name} ({count.total()}) | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 if there were defects."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.splitlines()[0], epilog="Docs: docs/security.md"
    )
    parser.add_argument("--n", type=int, default=300, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", default="", help="e.g. fits,nifti or fits/mef; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--json", type=Path, help="write each result here as it comes, one JSON record a line"
    )
    parser.add_argument(
        "--replay", action="append", metavar="CASE", help="e.g. 1:fits/mef:17, as results name it"
    )
    parser.add_argument("--keep", type=Path, help="with --replay: write the input below this folder")
    given = parser.parse_args(arguments)
    only = None if given.replay is None else [Case.parse(text) for text in given.replay]
    formats = tuple(filter(None, given.format.split(",")))
    done = itertools.count(1)

    if given.json:
        given.json.write_text("", encoding="utf-8")

    def tell(case: Case, result: dict[str, Any]) -> None:
        number = next(done)
        if given.json:
            with given.json.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"case": str(case), **result}) + "\n")
        if result["outcome"] in DEFECTS or only:
            print(
                f"{case}: {result['outcome']} ({result.get('mutation', '')})\n{result['detail']}\n",
                flush=True,
            )
        elif number % 500 == 0:
            print(f"{number} done", file=sys.stderr, flush=True)

    if only and given.keep:
        keep(only, given.keep)
    if only and not formats:  # the honest file, and those of its format to splice from
        formats = tuple({case.name.split("/")[0] for case in only})
    results = fuzz(given.n, given.seed, formats=formats, jobs=given.jobs, only=only, tell=tell)
    print(table(results, lambda case: case.name))
    return int(any(result["outcome"] in DEFECTS for _, result in results))


def keep(chosen: Sequence[Case], folder: Path) -> None:
    """Write inputs to look at."""
    found = fuzz_seeds.seeds()
    with tempfile.TemporaryDirectory() as temporary:
        made = {
            seed.name: fuzz_seeds.make(seed, Path(temporary))
            for seed in found.values()
            if seed.format in {case.name.split("/")[0] for case in chosen}
        }
        for case in chosen:
            seed = found[case.name]
            others = [made[o.name] / o.victim for o in found.values() if o.format == seed.format]
            path, what = build(case, seed, made[case.name], folder / str(case).replace("/", "-"), others)
            print(f"{path}: {what}")
