"""Jobs that a dead Snakemake left in the queue, and those of one that may live."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_slurm_packs import leftovers
from snakemake_executor_plugin_slurm_packs.leftovers import FOLDER, Leftovers

SQUEUE = '#!/bin/sh\ncat "$(dirname "$0")/queue"\n'
SCANCEL = """#!/bin/sh
for job; do
    echo "$job" >> "$(dirname "$0")/cancelled"
    sed -i "/^$job\\t/d" "$(dirname "$0")/queue"
done
"""


class Queue:
    def __init__(self, folder):
        self.file, self.log = folder / "queue", folder / "cancelled"
        self.file.touch()
        for name, script in (("squeue", SQUEUE), ("scancel", SCANCEL)):
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def add(self, job: str, name: str) -> None:
        with self.file.open("a") as stream:
            stream.write(f"{job}\t{name}\n")

    @property
    def cancelled(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Queue:
    for name in ("bin", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path / "project")
    return Queue(tmp_path / "bin")


def left_by(name: str, queue: Queue, jobs: dict[str, list[str]], **changes) -> None:
    """Leave Slurm jobs (number -> an output per job) of a Snakemake, whose process differs from this one by `changes`.

    The digest of a job is its output, and it ends with the file `{output}.ended`.
    """
    record = Leftovers(name)
    for number, outputs in jobs.items():
        infos = [
            SubmittedJobInfo(SimpleNamespace(output=[output]), number, {"end": Path(f"{output}.ended").absolute()})
            for output in outputs
        ]
        record.submitted(infos, outputs)
        queue.add(number.partition("_")[0], name)
    process = FOLDER / name / "process.json"
    process.write_text(json.dumps(json.loads(process.read_text()) | changes))


def start(*outputs: str, name: str = "b", equal: str = "") -> dict[str, str]:
    """Start a Snakemake that needs these outputs; the jobs of `equal` are as before. Returns those it takes over."""
    leftovers = Leftovers(name)
    needed = {output: output for output in outputs}
    taken = leftovers.settle(needed, lambda job: job if job in equal.split() else "changed", logging.getLogger())
    assert not taken or leftovers.folder.name != name
    return {info.job: info.external_jobid for info in taken}


@pytest.fixture(scope="module")
def ended() -> int:
    """Return the ID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_jobs_of_a_dead_snakemake_for_the_same_outputs_are_cancelled(queue, ended, caplog):
    left_by("a", queue, {"7": ["x"], "8": ["y", "z"], "9_1": ["w"], "10": ["v"]}, pid=ended)
    queue.add("11", "of another folder")
    queue.add("12", "a")  # Snakemake was killed between sbatch and its record
    start("x", "z", "w")
    assert sorted(queue.cancelled) == ["12", "7", "8", "9"]
    assert "Cancelling 4 job(s) that an earlier Snakemake, now dead, left in the queue: 7, 8, 9, 12" in caplog.text
    assert (FOLDER / "a").exists()  # it still has a job in the queue
    queue.file.write_text("")
    start(name="c")
    assert not (FOLDER / "a").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"which is process \d+ on"),
        ({"host": "login2"}, r"which was process \d+ on login2: it cannot be observed from"),
        ({"machine": "another", "boot": "another"}, "cannot be observed"),
        ({"pid_namespace": "pid:[1]"}, "in another container"),
        (None, "has left no record"),
    ],
)
def test_jobs_of_a_snakemake_that_may_live_are_not_cancelled(queue, changes, message):
    left_by("a", queue, {"7": ["x"]}, **(changes or {}))
    if changes is None:
        (FOLDER / "a/process.json").unlink()
    with pytest.raises(WorkflowError, match=rf"Job\(s\) 7 .*{message}.*`scancel --name=a`"):
        start("x")
    assert queue.cancelled == []
    start("y", name="c")  # other outputs


def test_unchanged_jobs_of_a_dead_snakemake_are_taken_over_with_its_name(queue, ended, caplog):
    left_by("a", queue, {"7": ["x"], "8": ["y", "z"], "9": ["w", "v"], "10": ["u"]}, pid=ended)
    left_by("b", queue, {"11": ["t"]}, pid=ended)
    Path("z.ended").write_text("1\n")  # has failed, and nobody has noticed
    # u is needed, and not yet to be submitted; v is not needed; t belongs to another dead one.
    assert start("x", "y", "z", "w", "u", "t", name="c", equal="x y z w t") == {"x": "7", "y": "8", "w": "9"}
    assert queue.cancelled == ["10", "11"]
    assert "Taking over 3 job(s) that an earlier Snakemake, now dead, left in the queue: 7, 8, 9." in caplog.text
    assert not Path("z.ended").exists()  # a requeued pack does not run it again
    assert not (FOLDER / "c").exists() and leftovers.state(FOLDER / "a").startswith("is process")
    with pytest.raises(WorkflowError, match="for another Snakemake, which is process"):
        start("x", name="d", equal="x")


@pytest.mark.parametrize("changes", [{"boot": "before"}, {"start": "1"}])
def test_a_number_that_another_process_has_now_is_a_dead_snakemake(queue, changes):
    left_by("a", queue, {"7": ["x"]}, **changes)
    start("x")
    assert queue.cancelled == ["7"]


def test_a_killed_process_that_nobody_has_waited_for_is_dead():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert leftovers.start_of(process.pid) is not None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and remains a zombie
    assert leftovers.start_of(process.pid) is None
    process.wait()


def test_a_record_that_was_cut_off_is_read_as_far_as_it_goes(queue, ended):
    left_by("a", queue, {"7": ["x"], "8": ["y"]}, pid=ended)
    jobs = FOLDER / "a/jobs.jsonl"
    jobs.write_text(jobs.read_text()[:-5])
    start("x")
    assert sorted(queue.cancelled) == ["7", "8"]  # the outputs of 8 are unknown
    shutil.rmtree(FOLDER)
