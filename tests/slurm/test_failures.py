"""What clusters do to jobs, all in one run: the tables, weights and predictions are those of the undisturbed run.

Five trainings, five ends: killed, over the time limit, over memory, requeued, its node down. A shard fails twice. Then
Snakemake itself is killed, first while a training runs, then while an evaluation ends that nobody waits for.
"""

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from grid import COMMAND, PROGRAM, QUICK, SECONDS, TABLES, new_project, processes

HIT = {
    "head/linear": "node down",
    "full/all": "killed",
    "bitfit/all": "requeued",
    "lora/r8": "over the time limit",
    "hra/r8": "over memory",
}


class Storm:
    """A project whose Snakemake runs in the background, and the hands that disturb it."""

    def __init__(self, folder: Path, faults: Path, slurm):
        self.project, self.faults, self.slurm = new_project(folder), faults, slurm
        self.outputs: list[Path] = []
        self.jobs: dict[str, str] = {}  # that were hit, by run
        self.deadline = time.monotonic() + 1.5 * SECONDS

    def start(self) -> None:
        self.outputs.append(self.project.folder / f"output{len(self.outputs)}.log")
        with self.outputs[-1].open("w") as stream:
            command = (*COMMAND, *QUICK, "--", *TABLES)
            self.head = self.project.start(*command, program=PROGRAM, stdout=stream, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        self.head.kill()
        self.head.wait()

    def wait(self, condition, what: str):
        """The first true value of `condition()`; Snakemake must not end before."""

        def ended() -> bool:
            return self.head.poll() is not None and self.head.returncode != -signal.SIGKILL

        return self.slurm.wait(condition, what, self.deadline, lambda: self.output, ended)

    @property
    def output(self) -> str:
        return "".join(path.read_text() for path in self.outputs)

    def queue(self, *states: str) -> dict[str, str]:
        """Comment of each job -> its id."""
        of = ("-t", ",".join(states)) if states else ()
        lines = self.slurm.slurm("squeue", "-h", *of, "-o", "%k %A").splitlines()
        return dict(line.split() for line in lines)

    def job(self, rule: str, run: str, state: str = "R") -> str | None:
        names = [*run.split("/"), "0"] if rule == "train_glue" else [*run.split("/"), "0", "validation"]
        return self.queue(state).get(f"rule_{rule}_wildcards_glue_sentences_{'_'.join(names)}")

    def training(self, run: str) -> list[int]:
        """Processes of a training that has saved a state and stands still (faults/sitecustomize.py)."""
        job = self.job("train_glue", run)
        found = [process for process in processes("train_glue.py") if job and process["job"] == job]
        return [process["pid"] for process in found if process["stopped"]]

    def release(self, run: str) -> None:
        """From now on this training does not stand still any more."""
        (self.faults / run.partition("/")[0]).touch()

    def hit(self, run: str) -> None:
        """Do to a training what HIT says; over memory it goes by itself (faults/sitecustomize.py)."""
        pids = self.wait(lambda: self.training(run), f"training of {run} with a saved state")
        job = self.jobs[run] = self.job("train_glue", run)
        if HIT[run] != "over the time limit":
            self.release(run)
        if HIT[run] == "killed":
            os.kill(pids[0], signal.SIGKILL)
        elif HIT[run] == "requeued":
            self.slurm.slurm("scontrol", "requeue", job)
        elif HIT[run] == "over the time limit":
            self.slurm.slurm("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        elif HIT[run] == "node down":
            node, running = self.slurm.slurm("sinfo", "-h", "-o", "%n"), self.slurm.steps()
            assert any(name.startswith(f"slurmstepd: [{job}.") for name in running), running
            self.slurm.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", f"Reason={self.slurm.TAKEN_OUT}")
            # A node that comes back has rebooted. Where its jobs' steps still end, Slurm drains it: "Duplicate jobid".
            self.wait(lambda: not self.slurm.steps(), "end of all job steps")
            self.slurm.slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")


@pytest.fixture(scope="module")
def storm(cluster, undisturbed, tmp_path_factory, monkeypatch_module, request) -> Storm:
    faults = tmp_path_factory.mktemp("faults")
    monkeypatch_module.setenv("PYTHONPATH", str(Path(__file__).with_name("faults")))
    monkeypatch_module.setenv("HRA_FAULTS", str(faults))
    storm = Storm(tmp_path_factory.mktemp("storm") / "project", faults, cluster)
    storm.start()
    request.addfinalizer(storm.kill)  # lest it goes on after a failure
    for run in ("head/linear", "lora/r8", "full/all", "bitfit/all"):
        storm.hit(run)
    storm.refused = storm.project.snakemake(*COMMAND, "--", *TABLES, ok=False)

    # Killed while the stopped training, tried again after its time limit, has gone on from its state.
    stopped = storm.jobs["lora/r8"]
    storm.wait(lambda: storm.job("train_glue", "lora/r8") not in (None, stopped), "retry of lora/r8")
    storm.wait(lambda: storm.training("lora/r8"), "training of lora/r8")
    storm.kill()
    storm.release("lora/r8")
    storm.locked = storm.project.snakemake(*COMMAND, "--", *TABLES, ok=False)
    storm.project.snakemake(*COMMAND, "--unlock")
    storm.start()

    # Killed while an evaluation runs, which then ends with nobody to take note.
    storm.wait(lambda: storm.job("evaluate_glue", "lora/r8"), "evaluation of lora/r8")
    storm.kill()
    storm.wait(lambda: not storm.queue("PD", "R", "CG"), "end of all jobs")
    storm.project.snakemake(*COMMAND, "--unlock")
    storm.start()
    storm.wait(lambda: storm.head.poll() is not None, "end of Snakemake")
    return storm


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def record(project, run: str) -> dict:
    return json.loads((project.folder / f"results/{run}/seed0/train.json").read_text())


def test_the_tables_are_those_of_the_undisturbed_run(storm, undisturbed):
    assert storm.head.returncode == 0, storm.output
    calm = undisturbed[0]
    for table in (*TABLES, "results/table_glue.md", "results/table_math.md"):
        assert (storm.project.folder / table).read_bytes() == (calm.folder / table).read_bytes()
    for results in (project.folder / "results" for project in (storm.project, calm)):
        with (results / "runs_glue.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["status"] for row in rows} == {"ok"}


def test_weights_and_predictions_are_the_same_to_the_byte(storm, undisturbed):
    calm = undisturbed[0].folder / "results"
    compared = [*calm.rglob("*.safetensors"), *calm.rglob("predictions.jsonl.gz"), *calm.rglob("outputs.jsonl.gz")]
    assert len(compared) == 5 * 2 + 1 + 5 + 2
    for path in compared:
        assert (storm.project.folder / "results" / path.relative_to(calm)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("run", HIT, ids=[fault.replace(" ", "-") for fault in HIT.values()])
def test_a_training_goes_on_from_its_last_state(storm, undisturbed, run):
    hit, calm = (record(project, f"glue/sentences/{run}") for project in (storm.project, undisturbed[0]))
    assert calm["attempts"] == 1 and calm["resumed_from"] == []
    assert hit["attempts"] > 1 and hit["resumed_from"] and 0 < hit["resumed_from"][-1] < hit["steps"]
    assert hit["curve"] == calm["curve"]


def test_each_failure_was_what_it_claims(storm):
    """As Slurm and the jobs themselves report it."""
    slurm_logs = "".join(path.read_text() for path in (storm.project.folder / "logs/slurm").rglob("*.log"))
    assert "DUE TO TIME LIMIT" in slurm_logs
    assert "exceeded memory limit" in slurm_logs
    assert "Killed" in slurm_logs
    controller = (storm.slurm.FOLDER / "slurmctld.log").read_text()
    assert "due to failure of node" in controller and "Requeuing JobId" in controller


def test_a_shard_that_fails_twice_passes_the_third_time(storm):
    logs = (storm.project.folder / "logs/slurm/rule_generate_math").rglob("*.log")
    shard = [text for text in (path.read_text() for path in logs) if "shard=0" in text]
    assert sum("the node's disk is full" in text for text in shard) == 2
    assert sum("(100%) done" in text for text in shard) == 1


def test_nothing_finished_is_done_twice(storm):
    finished = Counter()
    for path in (storm.project.folder / "logs/slurm").rglob("*.log"):
        text = path.read_text()
        if "(100%) done" in text:
            finished[re.search(r"^rule (\w+):", text, re.MULTILINE)[1], re.search(r"wildcards: (.*)", text)[1]] += 1
    assert len(finished) == 6 + 5 + 1 + 2 + 5 + 1
    assert set(finished.values()) == {1}, finished


def test_a_second_snakemake_in_the_folder_is_refused(storm):
    assert "Directory cannot be locked" in storm.refused


def test_a_killed_snakemake_goes_on(storm):
    assert "--unlock" in storm.locked
    second, third = (path.read_text() for path in storm.outputs[1:])
    assert re.search(r"Cancelling \d+ job\(s\) that an earlier Snakemake, now dead, left in the queue: \d+", second)
    assert "Cancelling" not in third and "rule_evaluate_glue/glue_sentences_lora_r8_0" not in third
