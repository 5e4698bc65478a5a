"""Snakemake is killed by SIGKILL or runs twice at a time, with the real scripts: each run is trained by one process."""

import copy
import os
import signal
import subprocess
import time

import pytest
from yaml import safe_dump

from hra_workflow.core import files, lease
from project import Project
from saved_states import check_same
from test_chain import TINY, rows

RUN = "results/glue/made/hra/r8/seed0"
COMMAND = ("--cores", "1", "--nolock", "--configfile", "tiny.yaml", "--")
TABLE = "results/table_glue.csv"
SECONDS_PER_STEP = 0.3


def config(**settings) -> dict:
    """Return the tiny config with one run."""
    changed = copy.deepcopy(TINY)
    changed["tasks"]["glue"] |= {"grid": [{"runs": ["hra/r8"], "datasets": ["made"], "seeds": [0]}]}
    changed["presets"]["glue"]["tiny"]["all"] |= settings
    return changed


@pytest.fixture
def slow(fresh, tmp_path) -> Project:
    """Provide a project in which each step of a training takes a while."""
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    begin = "    def on_step_end(self, args, state, control, **_):\n        if self.limit"
    pause = begin.replace("        if", f"        time.sleep({SECONDS_PER_STEP})\n        if")
    project.change("workflow/hra_workflow/training/interruption.py", begin, pause)
    return project


def configure(project: Project, **settings) -> None:
    (project.folder / "tiny.yaml").write_text(safe_dump(config(**settings)))


def start(project: Project, *targets: str) -> subprocess.Popen:
    log = (project.folder / "output.log").open("a")
    return project.start(*COMMAND, *targets, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def record(project: Project) -> dict:
    return files.read_json(project.folder / RUN / "train.json")


def weights(project: Project) -> dict[str, str]:
    return {name: str(project.folder / RUN / name / "adapter_model.safetensors") for name in ("last", "best")}


def trains(project: Project, process: subprocess.Popen, epochs: int) -> None:
    """Wait until a run of so many epochs has begun to train, and a few steps more."""
    scratch, deadline = project.folder / RUN.replace("results", "scratch", 1), time.monotonic() + 300
    while not (
        (scratch / "attempts.json").exists()
        and files.read_json(scratch / "fingerprint.json")["hyperparameters"]["epochs"] == epochs
    ):
        assert process.poll() is None and time.monotonic() < deadline, (project.folder / "output.log").read_text()
        time.sleep(0.05)
    time.sleep(3 * SECONDS_PER_STEP)


@pytest.mark.full  # tests/slurm kills Snakemake as well
def test_what_is_trained_after_snakemake_is_killed_is_what_the_config_says(slow, tmp_path):
    """A, of 5 epochs, loses its Snakemake. B, of 8, starts at once and is interrupted, then ends as a B without A."""
    fresh = slow.copy(tmp_path / "alone")
    configure(fresh, epochs=8, learning_rate=1e-3)
    alone = start(fresh, f"{RUN}/train.json")

    configure(slow, epochs=5, learning_rate=3e-3)
    a = start(slow, f"{RUN}/train.json")
    trains(slow, a, 5)
    a.kill()
    a.wait()
    configure(slow, epochs=8, learning_rate=1e-3)
    b = start(slow, f"{RUN}/train.json")
    trains(slow, b, 8)
    os.killpg(b.pid, signal.SIGINT)
    b.wait(120)
    slow.snakemake(*COMMAND, TABLE)

    assert alone.wait(300) == 0, (fresh.folder / "output.log").read_text()
    found, expected = record(slow), record(fresh)
    assert (found["hyperparameters"]["epochs"], found["attempts"], len(found["resumed_from"])) == (8, 2, 1)
    assert len(found["discarded"]) == 1 and "epochs 5, now 8" in found["discarded"][0]
    own = {"attempts": 1, "resumed_from": []}
    check_same(found | own, weights(slow), expected | own, weights(fresh))
    best = max(entry["metrics"]["accuracy"] for entry in expected["curve"])
    assert {row["Made"] for row in rows(slow.folder / TABLE) if row["selection"] == "best_on_dev"} == {
        f"{100 * best:.2f}"
    }
    assert not list(slow.folder.rglob(".*.lease*"))


@pytest.mark.full
def test_two_snakemakes_and_a_second_checkout_train_a_run_once(slow, tmp_path):
    """--nolock in one folder, and another working copy that writes to the same results and scratch."""
    slow.change("workflow/hra_workflow/core/lease.py", "EXPIRY = 120", "EXPIRY = 3600")  # the holder is suspended
    other = slow.copy(tmp_path / "other")
    configure(slow, epochs=2)
    first = start(slow, f"{RUN}/train.json")
    trains(slow, first, 2)
    holder = lease.holder_of(lease.of(slow.folder / RUN).read_bytes())["pid"]
    os.kill(holder, signal.SIGSTOP)
    places = {name: str(slow.folder / name) for name in ("results", "scratch", "resources")}
    (other.folder / "tiny.yaml").write_text(safe_dump(config(epochs=2) | {"pathvars": places}))
    targets = (f"{RUN}/train.json", f"{slow.folder / RUN}/train.json")
    others = [start(project, target) for project, target in zip((slow, other), targets, strict=True)]
    waiting, deadline = f"Process {holder} on ", time.monotonic() + 300
    while any(waiting not in (one.folder / "output.log").read_text() for one in (slow, other)):
        assert all(one.poll() is None for one in others) and time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(holder, signal.SIGCONT)
    assert [one.wait(300) for one in (first, *others)] == [0, 0, 0], (slow.folder / "output.log").read_text()
    assert (record(slow)["attempts"], record(slow)["resumed_from"]) == (1, [])
    assert not list(tmp_path.rglob(".*.lease*"))
