"""Which jobs in Slurm's queue a new Snakemake cancels, against a simulated queue."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.exceptions import WorkflowError

from common.core import process_identity
from common.planning import packs, slurm, slurm_packs

PATHVARS = {name: name for name in ("results", "resources", "scratch", "logs")}
SQUEUE = '#!/bin/sh\ncat "$(dirname "$0")/queue"\n'
SCANCEL = """#!/bin/sh
for job; do
    echo "$job" >> "$(dirname "$0")/cancelled"
    sed -i "/^$job\\t/d" "$(dirname "$0")/queue"
done
"""


class Cluster:
    def __init__(self, folder):
        self.queue, self.log = folder / "queue", folder / "cancelled"
        self.queue.touch()
        for name, script in (("squeue", SQUEUE), ("scancel", SCANCEL)):
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def submit(self, job: str, name: str, wildcards: tuple = ("glue", "cola")) -> None:
        with self.queue.open("a") as stream:
            stream.write(f"{job}\t{name}\t{packs.comment('train_glue', wildcards)}\n")

    @property
    def cancelled(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Cluster:
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)  # restored after the test
    monkeypatch.setattr(slurm_packs, "install", lambda workflow: None)
    (tmp_path / "bin").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path / "project")
    return Cluster(tmp_path / "bin")


def start(uuid: str = "b", **pathvars: str) -> str:
    """Start a Snakemake in this process; return the name of its jobs."""
    job = SimpleNamespace(rule=SimpleNamespace(name="train_glue"), wildcards=("glue", "cola"))
    executor = SimpleNamespace(run_uuid=uuid)
    workflow = SimpleNamespace(
        executor_plugin=SimpleNamespace(name="slurm"),
        dag=SimpleNamespace(jobs=[job]),
        scheduler=SimpleNamespace(_executor=executor),
        remote_execution_settings=SimpleNamespace(precommand=""),
    )
    slurm.before_the_first_job(workflow, {"pathvars": PATHVARS | pathvars})
    return executor.run_uuid


def record(name: str, **changes) -> None:
    path = slurm.RECORDS / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def ended() -> int:
    """Return the ID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_jobs_of_a_dead_snakemake_with_the_same_paths_are_cancelled(cluster, ended, capsys):
    name = start("a")
    record(name, pid=ended)
    cluster.submit("7", name)
    cluster.submit("8", name, ("glue", "rte"))  # not wanted now
    start("b", logs="elsewhere")
    assert cluster.cancelled == ["7"]
    assert "Cancelling 1 job(s) that an earlier Snakemake, now dead, left in the queue: 7" in capsys.readouterr().err
    assert (slurm.RECORDS / f"{name}.json").exists()  # it still has a job in the queue
    cluster.queue.write_text("")
    start("c")
    assert not (slurm.RECORDS / f"{name}.json").exists()


def test_a_pack_of_a_dead_snakemake_is_cancelled_if_one_of_its_runs_is_wanted(cluster, ended):
    name = start("a")
    record(name, pid=ended)
    for job, datasets in (("7", ("rte", "cola")), ("8", ("rte", "mrpc"))):
        (packs.FOLDER / job).mkdir(parents=True)
        runs = [{"comment": packs.comment("train_glue", ("glue", dataset))} for dataset in datasets]
        (packs.FOLDER / job / "pack.json").write_text(json.dumps({"runs": runs}))
        with cluster.queue.open("a") as stream:
            stream.write(f"{job}\t{name}\t{packs.comment(packs.NAME, [job])}\n")
    start("b")
    assert cluster.cancelled == ["7"]


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("pathvar", ["results", "resources", "scratch"])
def test_jobs_of_a_snakemake_with_other_paths_are_left_alone(cluster, ended, alive, pathvar):
    name = start("a")
    if not alive:
        record(name, pid=ended)
    cluster.submit("7", name)
    assert start("b", **{pathvar: "mine"}) != name
    assert cluster.cancelled == []


def test_equal_paths_in_other_words_are_the_same(cluster, ended):
    name = start("a")
    record(name, pid=ended)
    cluster.submit("7", name)
    start("b", results="./results/")
    assert cluster.cancelled == ["7"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"which is process \d+ on"),
        ({"host": "login2"}, r"which was process \d+ on login2: it cannot be observed from"),
        ({"machine": "another", "boot": "another"}, "cannot be observed"),
        ({"pid_namespace": "pid:[1]"}, "it is in another container"),
        (None, "has left no record"),
    ],
)
def test_jobs_of_a_snakemake_that_may_live_are_not_cancelled(cluster, changes, message):
    name = start("a")
    if changes is None:
        (slurm.RECORDS / f"{name}.json").unlink()
    else:
        record(name, **changes)
    cluster.submit("7", name)
    with pytest.raises(WorkflowError, match=rf"Job\(s\) 7 .*{message}.*`scancel --name={name}`"):
        start("b")
    assert cluster.cancelled == []
    assert start("c", results="mine") != name


@pytest.mark.parametrize("changes", [{"boot": "before"}, {"start": "1"}])
def test_a_number_that_another_process_has_now_is_a_dead_snakemake(cluster, changes):
    name = start("a")
    record(name, **changes)
    cluster.submit("7", name)
    start("b")
    assert cluster.cancelled == ["7"]


def test_a_killed_process_that_nobody_has_waited_for_is_dead():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_identity.start_of(process.pid) is not None
    process.kill()
    for _ in range(1000):
        if process_identity.start_of(process.pid) is None:
            break
    assert process_identity.start_of(process.pid) is None
    process.wait()


def test_a_queue_that_cannot_be_read_stops_with_its_reason(cluster):
    (cluster.queue.parent / "squeue").write_text("#!/bin/sh\necho controller down >&2\nexit 1\n")
    with pytest.raises(WorkflowError, match=r"squeue .* failed: controller down"):
        start()


class Executor(plugin.Executor):
    """The plugin's executor without a workflow: what the query of states needs."""

    status_rate_limiter = contextlib.nullcontext()

    def __init__(self):
        settings = SimpleNamespace(status_attempts=5, init_seconds_before_status_checks=1)
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.logger, self.run_uuid = logging.getLogger(), "b"
        self.next_seconds_between_status_checks = 1
        self._status_query_failures = self._status_query_calls = self._status_query_total_seconds = 0
        self._status_query_min_seconds = self._status_query_max_seconds = 0.0
        self._status_query_cycle_rows = []

    def get_status_command(self) -> str:
        return "squeue"


def test_jobs_are_kept_while_squeue_gives_no_answer(cluster):
    async def kept(jobs: list) -> list:
        return [job async for job in Executor().check_active_jobs(jobs)]

    jobs = [SimpleNamespace(external_jobid="1", aux={}), SimpleNamespace(external_jobid="2", aux={})]
    (cluster.queue.parent / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert asyncio.run(kept(jobs)) == []  # where the plugin keeps them itself, ask_again_after_silence can go
    slurm.ask_again_after_silence()
    assert asyncio.run(kept(jobs)) == jobs
