"""Files that say which cluster to start: SLURM and its like through dask-jobqueue, GPUs through dask-cuda."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.config import Bytes, Seconds, Words
from sciSR.yaml_file import Place, Problem, place_in, plain

JOB_QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "htcondor": "HTCondorCluster",
    "shell": "local.LocalCluster",
}
"""Kinds of queues -> classes of dask-jobqueue; ``shell`` starts its jobs on this machine, to try a file out."""

Text = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)]

NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""For schedulers: a port is opened all the same, so one that nobody else has and nobody outside reaches."""


class ClusterFile(BaseModel):
    """A cluster that is started for the run and ended with it.

    Everything but `cluster` and `workers` concerns one job, which is one worker: one item at a time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: Literal["slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor", "shell", "local", "cuda"]
    workers: int | None = Field(None, ge=1, description="How many; with cuda, one a GPU by default.")
    cores: int = Field(1, ge=1, description="Of each worker; its item computes with as many threads.")
    memory: Bytes = Field(8_000_000_000, description="Of each worker: '8 GB'.")
    walltime: Text | None = Field(None, description="As the queue writes it: '04:00:00'.")
    queue: Text | None = Field(None, description="Partition or queue.")
    account: Text | None = Field(None, description="Account or project.")
    interface: str | None = Field(None, description="Network interface: ib0.")
    directives: Words = Field(
        default_factory=list, description="More lines for the head of the job script: '--gres=gpu:1'."
    )
    prologue: Words = Field(
        default_factory=list, description="Shell lines before the worker starts: 'module load cuda'."
    )
    python: str | None = Field(None, description="Python on the nodes; this one by default.")
    logs: str | None = Field(None, description="Folder for the jobs' own output.")
    wait: Seconds = Field(1800.0, description="How long the queue may take until a worker is there.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Any other argument of dask-jobqueue's or dask-cuda's class."
    )


def read_cluster_file(path: Path) -> ClusterFile:
    """A YAML file that names a cluster.

    Raises
    ------
    UsageError
        All faults in one message.
    """
    from sciSR.yaml_file import message, parse

    values, lines = parse(path, examples="see docs/cluster.md for one")
    try:
        return ClusterFile.model_validate(values)
    except ValidationError as error:
        raise UsageError(message(_problems(error, values), lines, "cluster file")) from error


def _problems(error: ValidationError, values: dict[str, Any]) -> dict[Place, Problem]:
    """Each fault at its key, with the key that was perhaps meant."""
    from difflib import get_close_matches

    told: dict[Place, Problem] = {}
    for fault in error.errors(include_url=False):
        place = place_in(fault["loc"], values)
        if fault["type"] == "extra_forbidden":
            close = get_close_matches(str(place[-1]), ClusterFile.model_fields, 1)
            told[place] = Problem("unknown key", f"did you mean {close[0]!r}?" if close else None)
        elif fault["type"] == "missing":
            told[(*place, fault["loc"][-1])] = Problem("is missing")
        else:
            told[place] = Problem(plain(dict(fault)))
    return told


def start_jobs(file: ClusterFile) -> Any:
    """A dask-jobqueue cluster whose jobs are one worker each; they wait in the queue when this returns.

    Raises
    ------
    UsageError
        dask-jobqueue is not installed, or does not take what the file says, or there is no such queue here.
    """
    cluster = job_cluster(file)
    command = (cluster.job_cls.submit_command or "").split()
    if command and shutil.which(command[0]) is None:
        cluster.close()
        raise UsageError(
            f"there is no {command[0]!r} on this machine",
            where=f"{file.cluster} cluster",
            remedy="start the run where jobs are handed in, or use --shard in a job array",
        )
    cluster.scale(jobs=file.workers or 1)
    return cluster


def job_cluster(file: ClusterFile) -> Any:
    """The cluster of dask-jobqueue that a file describes, with a scheduler here and no job yet.

    Raises
    ------
    UsageError
    """
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{file.cluster} clusters need dask-jobqueue", remedy="pip install 'sciSR[cluster]'"
        ) from error
    optional = {
        "walltime": file.walltime,
        "queue": file.queue,
        "account": file.account,
        "interface": file.interface,
        "python": file.python,
        "log_directory": file.logs,
    }
    arguments: dict[str, Any] = {
        "cores": file.cores,
        "memory": f"{file.memory}B",
        "processes": 1,
        # One item at a time: the cores are for its own threads.
        "worker_extra_args": ["--nthreads", "1"],
        "job_extra_directives": list(file.directives),
        "job_script_prologue": list(file.prologue),
        "scheduler_options": NO_PAGES,
        **{name: value for name, value in optional.items() if value is not None},
        **file.options,
    }
    try:
        return _class_of(file.cluster)(**arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the {file.cluster} cluster can't be started: {error}") from error


def _class_of(kind: str) -> Any:
    module, _, name = f"dask_jobqueue.{JOB_QUEUES[kind]}".rpartition(".")
    return getattr(importlib.import_module(module), name)


def start_gpus(file: ClusterFile) -> Any:
    """A dask-cuda cluster on this machine: one worker a GPU, pinned to it and to the cores beside it.

    Raises
    ------
    UsageError
        dask-cuda is not installed, or finds no GPU.
    """
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise UsageError(
            f"'cuda' clusters need dask-cuda ({error})", remedy="pip install dask-cuda"
        ) from error
    arguments: dict[str, Any] = {
        "n_workers": file.workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "scheduler_kwargs": NO_PAGES,
        "memory_limit": 0,
        **file.options,
    }
    try:
        return LocalCUDACluster(**arguments)
    except Exception as error:  # NVML's own kinds of errors, which are nowhere in common
        raise UsageError(f"no worker could be given a GPU: {error}") from error
