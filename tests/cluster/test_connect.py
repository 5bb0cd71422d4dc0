"""What may be written after --cluster, and who is let in."""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from real_cluster import processes

from sciSR.errors import ResourceError, SciSRWarning, UnreadableError, UsageError
from sciSR.workflow.cluster import jobs
from sciSR.workflow.cluster.connect import connect, parse_spec
from sciSR.workflow.cluster.fitness import Probe, check_workers, problem
from sciSR.workflow.cluster.jobs import JOB_QUEUES, ClusterFile, job_cluster, read_cluster_file, start_jobs

SLURM = """
cluster: slurm
workers: 16
queue: gpu
account: 1234
cores: 8
memory: 32 GB
walltime: "04:00:00"
directives: ["--gres=gpu:1"]
prologue: module load cuda
"""


@pytest.mark.parametrize("spec", ["tcp://scheduler:8786", "tls://10.0.0.1:8786"])
def test_addresses_are_taken_as_they_are(spec):
    assert parse_spec(spec) == spec


def test_workers_on_this_machine_share_its_cores():
    file = parse_spec("local:3")
    assert (file.cluster, file.workers) == ("local", 3)
    assert parse_spec("local").workers >= 1
    assert parse_spec("cuda:2").workers == 2


@pytest.mark.parametrize("spec", ["", "scheduler:8786", "local:x", "local:0", "slurm", "ftp://x", "local:-1"])
def test_what_is_no_cluster_is_refused_with_what_is(spec):
    with pytest.raises(UsageError, match="local:3"):
        parse_spec(spec)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnreadableError, match=r"slurm\.yaml: no such file"):
        parse_spec(str(tmp_path / "slurm.yaml"))


def test_a_cluster_file_tells_all_its_faults_at_their_lines(tmp_path):
    path = tmp_path / "slurm.yaml"
    path.write_text("cluster: slurm\nworkers: 0\nqeue: gpu\nmemory: much\n")
    with pytest.raises(UsageError) as caught:
        read_cluster_file(path)
    text = str(caught.value)
    assert "3 errors" in text
    for part in ("slurm.yaml:2", "slurm.yaml:3", "did you mean 'queue'?", "slurm.yaml:4"):
        assert part in text


def test_the_job_script_says_what_the_file_says(tmp_path):
    pytest.importorskip("dask_jobqueue")
    path = tmp_path / "slurm.yaml"
    path.write_text(SLURM)
    cluster = job_cluster(read_cluster_file(path))
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH -A 1234",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=30G",
        "#SBATCH -t 04:00:00",
        "#SBATCH --gres=gpu:1",
        "module load cuda",
    ):
        assert line in script.splitlines()
    # One item at a time; of two options the last one counts.
    assert script.rindex("--nthreads 1") > script.rindex("--nthreads 8")


@pytest.mark.parametrize("kind", sorted(JOB_QUEUES))
def test_every_kind_of_queue_is_one_of_dask_jobqueue(kind):
    pytest.importorskip("dask_jobqueue")
    assert hasattr(jobs._class_of(kind), "job_cls")


def test_a_queue_that_is_not_here_is_said_at_once():
    pytest.importorskip("dask_jobqueue")
    if shutil.which("sbatch"):
        pytest.skip("there is SLURM here")
    with pytest.raises(UsageError, match="no 'sbatch' on this machine"):
        start_jobs(ClusterFile(cluster="slurm"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_jobs_of_a_queue_become_workers(tmp_path):
    """The kind `shell` goes the whole way of a batch system, with this machine's shell in its place."""
    pytest.importorskip("dask_jobqueue")
    path = tmp_path / "shell.yaml"
    path.write_text(f"cluster: shell\ncores: 2\nmemory: 1 GB\nlogs: {tmp_path}\nwait: 60\n")
    with connect(str(path)) as connection:
        assert list(connection.workers().values()) == [1]
        assert connection.threads == 2
        assert connection.ours
        check_workers(connection, Probe.write(tmp_path))


def test_gpus_without_dask_cuda_are_refused_in_one_line():
    try:
        import dask_cuda  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="pip install dask-cuda"):
            connect("cuda")


def test_a_scheduler_that_does_not_answer_is_named():
    with pytest.raises(ResourceError, match=r"tcp://127\.0\.0\.1:1: no scheduler answers"):
        connect("tcp://127.0.0.1:1", wait=1)


def test_a_scheduler_without_workers_is_no_cluster(tmp_path):
    with processes(tmp_path) as cluster, pytest.raises(ResourceError, match="no worker has come"):
        connect(cluster.address, wait=5)


def test_a_local_cluster_is_reached_from_this_machine_only_and_shows_no_page():
    with connect("local:1") as connection:
        assert connection.client.scheduler.address.startswith("tcp://127.0.0.1:")
        assert all(address.startswith("tcp://127.0.0.1:") for address in connection.workers())
        port = connection.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.http_server.port)
        assert port != 8787
        for page in ("", "status", "info/main/workers.html", "json/counts.json", "metrics"):
            with pytest.raises(HTTPError, match="404"):
                urlopen(f"http://127.0.0.1:{port}/{page}")
        assert (
            connection.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.WORKER_SATURATION) == 1
        )


@contextmanager
def joined(folder, **environment):
    with processes(folder, workers=1, **environment) as cluster, connect(cluster.address) as connection:
        yield connection


def test_settings_of_others_that_matter_are_warned_of_with_the_remedy(tmp_path):
    remedy = r"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1\.0"
    with joined(tmp_path) as connection, pytest.warns(SciSRWarning, match=remedy):
        check_workers(connection, Probe.write(tmp_path))
    good = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
    with joined(tmp_path, **good) as connection, warnings.catch_warnings():
        warnings.simplefilter("error", SciSRWarning)
        check_workers(connection, Probe.write(tmp_path))


def test_a_worker_with_another_version_is_refused(tmp_path):
    info = tmp_path / "other" / "sciSR-99.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sciSR\nVersion: 99.0\n")
    with processes(tmp_path) as cluster:
        cluster.start_worker(PYTHONPATH=str(info.parent))
        with connect(cluster.address) as connection, pytest.raises(UsageError, match=r"has sciSR 99\.0, not"):
            check_workers(connection, Probe.write(tmp_path))


def test_workers_that_see_other_files_are_refused(tmp_path):
    probe = Probe.write(tmp_path, str(tmp_path))
    assert problem(probe.as_dict()) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["probe"]
    elsewhere = {**probe.as_dict(), "path": str(tmp_path / "nowhere" / "probe")}
    assert "sees no such file" in problem(elsewhere, patience=0)
    Path(probe.path).write_text("of another run")
    assert "another file of this name" in problem(probe.as_dict(), patience=0)
    probe = Probe.write(tmp_path, str(tmp_path / "in"))
    assert "no such input folder" in problem(probe.as_dict())
    assert "sciSR" in problem({**probe.as_dict(), "software": "0"})
