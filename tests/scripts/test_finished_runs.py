"""The end of a run: it may be killed after each operation, its outputs are restored, its states removed."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

import train_glue
from hra_workflow.core import files, job, lease, process_identity, records
from hra_workflow.training import checkpoints, finished_runs, run_record
from saved_states import Killed, Reaper, delete_outputs, stop_after
from support import method


@pytest.fixture(scope="module")
def reaper() -> Reaper:
    return Reaper()


@pytest.mark.slow
def test_finish_can_be_killed_after_each_operation_on_files(make_run, monkeypatch, reaper):
    """Either the state is as it was, and the next attempt gives the same record, or the run can be restored."""
    run = make_run(method("hra"))
    finish, calls = run_record.finish, []

    def before(*arguments, **options):
        calls.append((arguments, options))
        raise Killed

    scratch, pristine = Path(run.train["params"]["scratch"]), run.folder / "pristine"
    record, outputs = Path(run.train["output"]["record"]), run.folder / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run_record, "finish", before)
        job = run.train
        job["resources"]["save_seconds"] = 0  # after every step
        with pytest.raises(Killed):
            train_glue.main(job)
    scratch.rename(pristine)
    (*arguments, _), options = calls[0]  # without the evaluation, which comes before all that is kept

    kills, finished, expected = 0, [], None
    own = ("seconds", "device_seconds", "cpu_share", "finished", "peak_memory_bytes", "sha256")
    while True:
        shutil.rmtree(outputs, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(pristine, scratch)
        if not reaper.run(kills, lambda: finish(*arguments, **options)):
            break
        kills += 1
        delete_outputs(run.train)  # as Snakemake does
        if finished_runs.restored(run.train):
            finished.append(kills)
        else:
            checkpoint, problems = checkpoints.newest(scratch)
            assert checkpoint.name == "checkpoint-12" and problems == []
            finish(*arguments, **options)
        assert all(Path(path).exists() for path in run.weights.values()) and not scratch.exists()
        found = {key: value for key, value in files.read_json(record).items() if key not in own}
        assert found == (expected := expected or found)
    assert finished == list(range(min(finished), kills + 1)) and min(finished) > 10 and len(finished) > 5
    assert not list(run.folder.glob(".scratch.*"))


def test_a_finished_run_is_restored_as_it_was(make_run, capsys):
    """Unless the copy is damaged, or of another run; a missing output alone is no reason to train again."""
    run = make_run(method("hra"))
    train_glue.main(run.train)
    job, folder = run.train, run.folder / "run"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".finished" not in path.parts}
    assert all(path.stat().st_nlink == 2 for path in before if "last" in path.parts)  # takes no space
    delete_outputs(job)
    Path(job["params"]["scratch"]).mkdir()  # such as torchrun's job.json is in
    now = time.time()
    assert finished_runs.restored(job) and "had finished before" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".finished" not in path.parts}
    assert after == before and not Path(job["params"]["scratch"]).exists()
    assert all(Path(path).stat().st_mtime >= now - 1 for path in job["output"].values())  # newer than its inputs

    job["params"]["hyperparameters"] = job["params"]["hyperparameters"] | {"learning_rate": 0.5}
    delete_outputs(job)
    assert not finished_runs.restored(job)
    assert "is not used: learning_rate" in capsys.readouterr().out
    assert finished_runs.restored(run.train)

    weights = folder / ".finished/best/adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert not finished_runs.restored(run.train)
    assert "is not used: best/adapter_model.safetensors has a different SHA-256" in capsys.readouterr().out
    shutil.rmtree(folder / ".finished")
    assert not finished_runs.restored(run.train) and capsys.readouterr().out == ""


def test_a_run_that_ends_in_another_s_place_is_not_taken_for_it(make_run, monkeypatch, capsys):
    """A trains 2 epochs. Before it finishes, B claims the folder with 3 epochs and is stopped. Then A finishes."""
    a, b, finish, calls = make_run(method("hra")), make_run(method("hra")), run_record.finish, []
    b.settings |= {"epochs": 3}
    with monkeypatch.context() as patch:
        patch.setattr(run_record, "finish", lambda *arguments, **options: calls.append((arguments, options)))
        train_glue.main(a.train)
    stop_after(3, lambda: train_glue.main(b.train))
    ((*arguments, _), options) = calls[0]
    finish(*arguments, **options)
    delete_outputs(b.train)
    assert not finished_runs.restored(b.train)
    assert "is not used: epochs 2, now 3" in capsys.readouterr().out
    assert finished_runs.restored(a.train)
    assert files.read_json(a.train["output"]["record"])["hyperparameters"]["epochs"] == 2

    kept = b.folder / "run/.finished"
    edited = files.read_json(kept / "train.json") | {"hyperparameters": b.settings}
    for write, problem in (
        (files.write_json, "expected the content that was written"),
        (records.write, "its record contradicts itself: epochs 3, but trained with 2"),
    ):
        write(kept / "train.json", edited)
        checkpoints.complete(kept)
        assert not finished_runs.restored(a.train) and not finished_runs.restored(b.train)
        assert problem in capsys.readouterr().out


def test_a_run_that_finishes_without_its_snakemake_is_kept_but_not_an_output(make_run, monkeypatch):
    """No Snakemake would know of the outputs, and the next one, with another config, would take them for its own."""
    run = make_run(method("hra"))
    monkeypatch.setenv(process_identity.STARTED_BY, f"[{json.dumps(process_identity.this_process() | {'start': '1'})}]")
    train_glue.main(run.train)
    assert not any(Path(path).exists() for path in run.train["output"].values())
    monkeypatch.delenv(process_identity.STARTED_BY)
    assert finished_runs.restored(run.train) and all(Path(path).exists() for path in run.train["output"].values())


def unsealed(scratch: Path, step: int) -> Path:
    folder = checkpoints.unsealed(scratch) / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(bytes([step]) * 100)
    return folder


def test_a_checkpoint_has_its_name_only_when_it_is_complete(tmp_path, reaper):
    """Kill the process before each operation on files: one of the two checkpoints is intact, the rest is cleared."""
    kills = 0
    while True:
        scratch = tmp_path / str(kills)
        checkpoints.seal(unsealed(scratch, 3))
        newer = unsealed(scratch, 6)
        files.write_json(scratch / "fingerprint.json", {})
        if not reaper.run(kills, lambda newer=newer: checkpoints.seal(newer)):
            break
        kills += 1
        found, problems = checkpoints.newest(scratch)
        assert found.name in ("checkpoint-3", "checkpoint-6") and problems == []
        assert checkpoints.claim(scratch, {}) == []
        assert not list(scratch.glob(".unsealed*"))
    assert kills >= 4 and [path.name for path in scratch.glob("checkpoint-*")] == ["checkpoint-6"]


def test_what_cannot_be_deleted_does_not_fail_a_finished_job(tmp_path, monkeypatch):
    """NFS keeps a file that is still open under another name: its folder is not empty."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/file").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", lambda *_, **__: (_ for _ in ()).throw(OSError(39, "Directory not empty")))
        checkpoints.remove(tmp_path / "scratch")
        assert not (tmp_path / "scratch").exists()
    checkpoints.remove(tmp_path / "scratch")
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_reads_a_run_leaves_nothing_to_restore(tmp_path):
    """Snakemake has noted the run; but another process may train it, for another project."""
    runs = [tmp_path / name for name in ("read", "trained", "other")]
    for run in runs:
        (run / job.FINISHED).mkdir(parents=True)
    lease.of(runs[1]).touch()
    job.forget_finished({"input": {"record": str(runs[0] / "train.json")}})
    job.forget_finished({"input": {"records": [str(run / "train.json") for run in runs[:2]]}})
    assert [(run / job.FINISHED).exists() for run in runs] == [False, True, True]
