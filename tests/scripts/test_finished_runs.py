"""The end of a run: it may be killed after each operation, and is not trained again; its states are removed."""

import os
import shutil
import time
from pathlib import Path

import pytest

import evaluate_glue
import train_glue
from hra_workflow.core import files, lock
from hra_workflow.models import adapters
from hra_workflow.training import checkpoints
from hra_workflow.training.attempts import Attempt
from saved_states import Reaper, check_restored, delete_outputs
from support import method


@pytest.fixture(scope="module")
def reaper() -> Reaper:
    return Reaper()


@pytest.mark.slow
def test_finish_can_be_killed_after_each_operation_on_files(make_run, monkeypatch, reaper):
    """The last checkpoint stays intact, and the next attempt trains nothing and gives the same record.

    Its outputs are second names of files, or copies where none exist.
    """
    run = make_run(method("hra"))
    calls = {}
    with monkeypatch.context() as patch:
        save = adapters.save
        patch.setattr(adapters, "save", lambda *given: calls.update(save=given) or save(*given))
        patch.setattr(evaluate_glue, "write_scores", lambda *given: calls.update(scores=given))
        patch.setattr(Attempt, "publish", lambda *given: calls.update(publish=given))
        train_glue.main(run.train)
    scratch, pristine = Path(run.train["params"]["scratch"]), run.folder / "pristine"
    record, outputs = Path(run.train["output"]["record"]), run.folder / "run"
    scratch.rename(pristine)

    def finish() -> None:
        attempt, new, *result = calls["publish"]
        assert attempt.new_outputs() == new
        adapters.save(*calls["save"])
        evaluate_glue.write_scores(*calls["scores"])
        attempt.publish(new, *result)

    kills, expected = 0, None
    own = ("seconds", "device_seconds", "cpu_share", "finished", "peak_memory_bytes", "sha256")
    while True:
        shutil.rmtree(outputs, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(pristine, scratch)
        if not reaper.run(kills, finish):
            break
        kills += 1
        delete_outputs(run.train)  # as Snakemake does
        checkpoint, discarded = checkpoints.usable(scratch, files.read_json(scratch / "made_from.json"))
        assert checkpoint.name == "checkpoint-12" and discarded == []
        finish()
        assert all(Path(path).exists() for path in run.weights.values())
        found = {key: value for key, value in files.read_json(record).items() if key not in own}
        assert found == (expected := expected or found)
    assert kills > 10 and not list(run.folder.glob(".scratch.*"))
    best, now = Path(run.weights["best"]), time.time()
    assert best.stat().st_nlink == 2  # takes no space
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
        check_restored(run.train)
    assert best.stat().st_nlink == 1
    assert all(Path(path).stat().st_mtime >= now - 1 for path in run.train["output"].values())  # newer than its inputs


def test_the_cost_of_a_run_is_that_of_all_its_attempts(monkeypatch):
    """Seconds add up, the highest peak counts, and each of two processes has a device or a part of it."""
    attempt = Attempt({"params": {"device": "cpu"}, "resources": {"gpu": 2}}, "cpu", time.monotonic() - 10, {})
    attempt.history = {"seconds": [30.0, 0.0], "runs_per_gpu": [2, 1], "peak_memory_bytes": 2**40}
    attempt.history |= {"resumed_from": [3], "discarded": [], "started": "now"}
    monkeypatch.setattr(Attempt, "entries", lambda self: {})
    monkeypatch.setenv("RANK", "1")  # writes nothing
    attempt.count()
    found = attempt.described()
    assert found["seconds"] >= 40 and found["device_seconds"] == pytest.approx(2 * (found["seconds"] - 15), abs=2e-3)
    assert found["peak_memory_bytes"] == 2**40 and found["attempts"] == 2


def test_a_checkpoint_has_its_name_only_when_it_is_complete(tmp_path, reaper):
    """Kill the process before each operation on files: one of the two checkpoints is intact, the rest is cleared."""
    kills = 0
    while True:
        scratch = tmp_path / str(kills)
        older, newer = (scratch / checkpoints.UNSEALED / f"checkpoint-{step}" for step in (3, 6))
        for folder in (older, newer):
            files.write_text(folder / "optimizer.pt", folder.name)
        checkpoints.seal(older)
        files.write_json(scratch / "made_from.json", {"inputs": {}})
        if not reaper.run(kills, lambda newer=newer: checkpoints.seal(newer)):
            break
        kills += 1
        found, discarded = checkpoints.usable(scratch, {"inputs": {}})
        assert found.name in ("checkpoint-3", "checkpoint-6") and discarded == []
        assert not list(scratch.glob(".unsealed*"))
    assert kills >= 4 and [path.name for path in scratch.glob("checkpoint-*")] == ["checkpoint-6"]


def test_a_job_that_reads_a_run_deletes_its_checkpoints(tmp_path, monkeypatch):
    """Snakemake has noted the run. But another process may train it, for another project, or the run is elsewhere."""
    monkeypatch.chdir(tmp_path)
    names = ("read", "trained", "elsewhere")
    for name in names:
        for path in ("checkpoint-3/optimizer.pt", "best/weights", "attempts.json", "test/shard0/image", ".unsealed/a"):
            files.write_text(Path("scratch", name, "seed0", path), "")
    with lock.held("scratch/trained/seed0"):
        for given in (
            {"records": [str(tmp_path / "results/read/seed0/train.json"), "results/trained/seed0/train.json"]},
            {"record": "results/../scratch/elsewhere/seed0/train.json"},
        ):
            lock.forget_checkpoints({"input": given}, {"scratch": "scratch", "results": "results"})
    left = [[path.name for path in Path("scratch", name, "seed0").rglob("*") if path.is_file()] for name in names]
    assert left[0] == ["image"]  # of an evaluation that may run
    assert list(map(len, left[1:])) == [5, 5]
