"""Train every network of configs/train in one go, on a machine that may have little more than PyTorch and a GPU.

1. Where the data are: ``python benchmarks/train_zoo.py --prepare --data DATA [--only 'mri-*'] [--megabytes 58]``
   draws the patches. Configurations with the same data, forward model and scale share a file; beside it are their
   resolved configurations as JSON. The folder (``--folder``, patches/zoo) is all that has to be taken along.
2. Where the GPU is: ``python benchmarks/train_zoo.py --train patches/zoo --minutes 9 [--only ...] [--out runs/zoo]``
   measures a step of each network, shares the time among them (zoo_plan.py), trains them ``--workers`` at a time, and
   prints a line for each. It needs torch, lightning, numpy and safetensors alone. If time is up, the same command goes
   on; with ``--total-minutes`` the steps are planned for several commands from the beginning.
3. ``python benchmarks/train_zoo.py --bundle runs/zoo --out FOLDER`` packs weights, cards and logs, without the
   checkpoints, into zip files of at most ``--megabytes 15``.

``--quick`` makes 1 and 2 toys that take seconds.
"""

from __future__ import annotations

import time

BEGAN = time.time()  # before the slow imports

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import fnmatch  # noqa: E402
import functools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import zipfile  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # where sciSR isn't installed

import zoo_plan  # noqa: E402
import zoo_run  # noqa: E402
from zoo_plan import Task  # noqa: E402

from sciSR.errors import SciSRError, UsageError  # noqa: E402
from sciSR.files import atomic_output  # noqa: E402
from sciSR.training.config import TrainConfig  # noqa: E402

QUICK = "mri-x2-espcn,mri-x2-srcnn,mri-x4-srresnet,mri-x4-srgan"
"""What --quick takes: shared patches, a start, a discriminator and a feature network are among them."""
RESERVE = 0.08
"""Share of the time that is kept for what can't be foreseen."""
FEATURE_STEPS = 400
BYTES = {"mr": 0.8, "astronomy": 1.6, "natural": 0.4}
"""Of a pixel in a compressed file, rather too few: what is drawn too much is left away."""


def main() -> int:
    """Command line; 0 done, 1 something failed, 2 a wrong option, 130 time was up."""
    given = _options()
    try:
        if given.prepare:
            return prepare_all(given)
        return bundle(given) if given.bundle else train_all(given)
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--prepare", action="store_true", help="draw the patches")
    verb.add_argument(
        "--train", type=Path, metavar="FOLDER", help="train from the folder of prepared patches"
    )
    verb.add_argument("--bundle", type=Path, metavar="RUNS", help="pack what was trained")
    parser.add_argument(
        "--only", help="configurations or networks, with commas; * and ? stand for any letters"
    )
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    parser.add_argument("--megabytes", type=float, help="of all patch files (58), or of each zip file (15)")
    parser.add_argument(
        "--configs", type=Path, default=ROOT / "configs" / "train", help="folder of .yaml files"
    )
    parser.add_argument("--data", type=Path, help="folder of the data, instead of data.root")
    parser.add_argument("--folder", type=Path, default=Path("patches/zoo"), help="where --prepare writes")
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"), help="where --train or --bundle writes")
    parser.add_argument("--minutes", type=float, default=9.0, help="that this command may take")
    parser.add_argument("--total-minutes", type=float, help="that all commands together may take (--minutes)")
    parser.add_argument(
        "--workers", type=int, help="networks at a time (GPU: half the cores, at most 8; CPU: 1)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all networks")
    given = parser.parse_args()
    given.only = given.only or (QUICK if given.quick else "*")
    return given


def _chosen(keys: Mapping[str, str], only: str) -> list[str]:
    """Of configurations (file stem -> network's name), those that `only` means."""
    found = [
        key
        for key, name in keys.items()
        if any(fnmatch.fnmatch(word, pattern) for word in (key, name) for pattern in only.split(","))
    ]
    if not found:
        raise UsageError(f"--only {only} means none", remedy=f"there are {', '.join(keys)}")
    return found


def prepare_all(given: argparse.Namespace) -> int:
    """Draw the patches of all chosen configurations into one folder."""
    from sciSR.training.config_file import load_config

    configs = {path.stem: load_config(path, given.set) for path in sorted(given.configs.glob("*.yaml"))}
    configs = {key: configs[key] for key in _chosen({k: c.name for k, c in configs.items()}, given.only)}
    configs = {key: c for key, c in configs.items() if c.model.architecture != "SparseCoding"}  # no gradients
    if given.quick:
        configs = {key: _toy(config) for key, config in configs.items()}
    found = zoo_plan.groups(configs)
    quota = zoo_plan.shares(
        {group: [zoo_plan.weight(configs[key]) for key in keys] for group, keys in found.items()},
        1e6 * (given.megabytes or 58.0) * 0.98,
    )
    given.folder.mkdir(parents=True, exist_ok=True)
    for old in (*given.folder.glob("*.npz"), *given.folder.glob("*.json")):
        old.unlink()
    for table in Path(given.data or next(iter(configs.values())).data.root).glob("*.tsv"):
        shutil.copyfile(table, given.folder / table.name)  # terms of use, for the cards
    for group, keys in found.items():
        began = time.perf_counter()
        pairs, size = _draw(configs[group], given.folder / f"{group}.npz", quota[group], given.data)
        held = {key: _carried(configs[key], given.folder, configs).as_dict() for key in keys}
        _write(given.folder / f"{group}.json", held)
        seconds = time.perf_counter() - began
        print(
            f"{group}: {pairs} pairs, {size / 1e6:.1f} MB, {seconds:.0f} s, for {', '.join(keys)}", flush=True
        )
    total = sum(path.stat().st_size for path in given.folder.iterdir())
    print(f"{given.folder}: {total / 1e6:.1f} MB")
    return 0


def _toy(config: TrainConfig) -> TrainConfig:
    data = dataclasses.replace(config.data, patch=12, patches=8, validation_patches=4)
    training = dataclasses.replace(config.training, batch=2)
    return dataclasses.replace(config, data=data, training=training)


def _draw(config: TrainConfig, target: Path, limit: float, root: Path | None) -> tuple[int, int]:
    """Make a patch file of at most `limit` bytes; pairs and bytes."""
    import numpy as np

    from sciSR.training.patch_file import save
    from sciSR.training.prepare import prepare

    each = BYTES[config.domain] * config.data.patch**2 * (1 + config.model.scale**2)
    pairs = min(config.data.patches, int(limit / each) + 1)
    held = min(config.data.validation_patches, max(4, pairs // 10))
    data = dataclasses.replace(config.data, patches=pairs, validation_patches=held)
    about = prepare(dataclasses.replace(config, data=data), target, root=root, overwrite=True)
    if about["bytes"] > limit:
        with np.load(target) as archive:
            arrays = {key: archive[key] for key in archive.files if key != "about"}
        about, size = save(target, {k: v for k, v in about.items() if k != "bytes"}, arrays, int(limit))
        about["bytes"] = size
    return sum(about["pairs"].values()), about["bytes"]


def _carried(config: TrainConfig, folder: Path, zoo: Mapping[str, TrainConfig]) -> TrainConfig:
    """A configuration whose other files (start, feature networks) lie in the folder, as far as they exist here."""
    start = config.model.start
    if start and zoo_plan.origin(config, [c.name for c in zoo.values()]) is None and Path(start).is_file():
        shutil.copyfile(start, folder / Path(start).name)
        model = dataclasses.replace(config.model, start=Path(start).name)
        config = dataclasses.replace(config, model=model)
    for term in config.loss.terms:
        if term.kind == "features" and Path(term.options["file"]).is_file():
            shutil.copyfile(term.options["file"], folder / Path(term.options["file"]).name)
    return config


def _write(path: Path, values: Any) -> None:
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")


def train_all(given: argparse.Namespace) -> int:
    """Train all chosen networks within the time, or go on with them."""
    import torch

    gpu = given.device != "cpu" and torch.cuda.is_available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = given.workers or (max(1, min(8, cores // 2)) if gpu else 1)
    given.out.mkdir(parents=True, exist_ok=True)
    deadline = BEGAN + 60 * given.minutes - zoo_run.GRACE
    jobs = _jobs(
        given,
        functools.partial(
            zoo_run.Job, device=given.device, threads=max(1, cores // workers), deadline=deadline
        ),
    )
    peak = zoo_run.matrix_rate(torch.device("cuda")) if gpu else None
    state = given.out / "zoo.json"
    known: dict[str, Any] = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
    for name in jobs:
        if "error" in known.get(name, {}):  # another attempt
            known[name] = {key: value for key, value in known[name].items() if key != "error"}
    with zoo_run.pool(workers) as pool:
        new = [
            (job, 2 if given.quick else 30) for name, job in jobs.items() if "ms" not in known.get(name, {})
        ]
        for job, result in zoo_run.results_of(pool, zoo_run.probe, new):
            known[job.config.name] = {"steps": 0, "done": 0} | result
            if "error" in result:
                print(zoo_run.line(job.config.name, result, peak), flush=True)
        able = {name: job for name, job in jobs.items() if "ms" in known[name]}
        tasks = [_task(job, known[name]) for name, job in able.items() if not known[name].get("whole")]
        steps = _planned(given, tasks, workers)
        for task in tasks:
            known[task.name]["steps"] = steps[task.name]
        _write(state, known)
        for name, result in zoo_run.in_turn(pool, able, zoo_plan.order(tasks, steps), steps, workers):
            known[name].pop("waits", None)
            known[name] |= result
            _write(state, known)
            print(zoo_run.line(name, known[name], peak), flush=True)
    if any("error" in known[name] for name in jobs):
        return 1
    return 0 if all(known[name].get("whole") for name in jobs) else 130


def _planned(given: argparse.Namespace, tasks: list[Task], workers: int) -> dict[str, int]:
    """Steps of each network in the time that is left."""
    spent = time.time() - BEGAN
    left = 60 * (given.total_minutes or given.minutes) * (1 - RESERVE) - zoo_run.GRACE - spent
    steps = zoo_plan.plan(tasks, left, workers)
    if given.quick:
        steps = {task.name: task.steps or 4 for task in tasks}
    print(f"{len(tasks)} networks to train, {workers} at a time, in {left:.0f} s", flush=True)
    return steps


def _jobs(given: argparse.Namespace, job: Any) -> dict[str, zoo_run.Job]:
    """All chosen networks by name, and those that they begin from."""
    from sciSR.training.overrides import override

    folder, configs, files = given.train, {}, {}
    for path in sorted(folder.glob("*.json")):
        for key, values in json.loads(path.read_text(encoding="utf-8")).items():
            configs[key], files[key] = TrainConfig.from_dict(values), path.with_suffix(".npz")
    if not configs:
        raise UsageError("holds no prepared patches", where=folder, remedy="make them with --prepare")
    names = {key: config.name for key, config in configs.items()}
    keys = {name: key for key, name in names.items()}
    origins = {key: zoo_plan.origin(config, list(keys)) for key, config in configs.items()}
    chosen = _chosen(names, given.only)
    for key in chosen:  # grows
        parent = origins[key]
        if parent and keys[parent] not in chosen:
            chosen.append(keys[parent])
    jobs = {}
    for key in chosen:
        config = override(configs[key], given.set)
        config = _with_features(config, folder, files[key], given.out, 2 if given.quick else FEATURE_STEPS)
        start, parent = config.model.start, origins[key]
        if parent:
            start = str(given.out / parent / f"{parent}.safetensors")
        elif start and (folder / start).is_file():
            start = str(folder / start)
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, start=start))
        jobs[config.name] = job(config, files[key], given.out, after=parent)
    return jobs


def _with_features(config: TrainConfig, folder: Path, patches: Path, out: Path, steps: int) -> TrainConfig:
    """A configuration whose feature network is at hand; it is trained if it wasn't taken along."""
    terms = []
    for term in config.loss.terms:
        if term.kind == "features":
            name = Path(term.options["file"]).name
            file = folder / name if (folder / name).is_file() else out / name
            if not file.exists():
                from sciSR.training.features import pretrain, save_features

                network = pretrain(zoo_run.open_patches(patches), steps)
                with atomic_output(file) as temporary:
                    save_features(temporary, network, config.normalisation, patches=config.name, steps=steps)
            term = dataclasses.replace(term, options={**term.options, "file": str(file)})
        terms.append(term)
    return dataclasses.replace(config, loss=dataclasses.replace(config.loss, terms=tuple(terms)))


def _task(job: zoo_run.Job, known: Mapping[str, Any]) -> Task:
    name, share = job.config.name, zoo_plan.weight(job.config)
    return Task(name, share, known["ms"], known["overhead"], job.after, known["steps"], known["done"])


def bundle(given: argparse.Namespace) -> int:
    """Pack the runs into zip files, each below the limit."""
    limit, given_out = 1e6 * (given.megabytes or 15.0), given.out
    runs = {path.name: path for path in sorted(given.bundle.iterdir()) if path.is_dir()}
    chosen = _chosen({name: name for name in runs}, given.only)
    files = [file for name in chosen for file in sorted(runs[name].rglob("*")) if file.is_file()]
    files = [f for f in files if f.name != "checkpoint.pt" and f.parent.name not in ("events", "samples")]
    files += [file for file in sorted(given.bundle.iterdir()) if file.is_file()]
    given_out.mkdir(parents=True, exist_ok=True)
    number, used, archive = 0, limit, None
    for file in files:
        size = file.stat().st_size + 500  # its headers
        if used + size > limit:
            if archive:
                archive.close()
            number, used = number + 1, 0.0
            archive = zipfile.ZipFile(given_out / f"zoo-{number}.zip", "w", zipfile.ZIP_DEFLATED)
        archive.write(file, file.relative_to(given.bundle))
        used += size
    if archive:
        archive.close()
    print(f"{given_out}: {number} zip files of {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
