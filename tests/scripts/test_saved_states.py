"""A training checkpoint is used only by the training run that it belongs to, and only if it is intact."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

import train_glue
import train_math
import train_subject
from hra_workflow.core import files, fingerprints, process_identity, records
from hra_workflow.training import checkpoints, finished_runs, interruption, run_record
from saved_states import Killed, Reaper, check_restored, check_same, delete_outputs, stop_after
from subjects import DATASET as SUBJECT
from subjects import MODEL as DIFFUSION
from subjects import unet_method
from sums import LLAMA_TARGETS, SUMS, TINY_LLAMA, write_sums
from support import DATASET, TINY_MODEL, downloaded, method, write_sentences


def glue(make, root: Path):
    write_sentences(root / "raw")
    for name, rows in (("train", 64), ("validation", 24)):
        path = root / f"raw/{name}.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: rows + 1]))
    return make(method("lora")), downloaded(root, TINY_MODEL, "glue/tiny", DATASET), train_glue


def math(make, root: Path):
    write_sums(root / "raw")
    other = SUMS | {"take": {"train": 32}}
    return make(method("lora", targets=LLAMA_TARGETS)), downloaded(root, TINY_LLAMA, "math/sums", other), train_math


def subject(make, root: Path):
    other = SUBJECT | {"source": SUBJECT["source"] | {"seed": 1}}
    return make(unet_method("lora")), downloaded(root, DIFFUSION, "subject/jester-ball", other), train_subject


@pytest.mark.slow
@pytest.mark.parametrize(("case", "make"), [(glue, "make_run"), (math, "make_math_run"), (subject, "make_subject_run")])
def test_a_state_of_another_rate_or_other_data_is_set_aside(case, make, tmp_path, request, capsys):
    """Stopped in the middle, the rate and then the data changed: the record of a fresh training, to the last digit."""
    make = request.getfixturevalue(make)
    run, other, script = case(make, tmp_path)
    run.settings |= {"learning_rate": 2e-2}
    stop_after(3, lambda: script.main(run.train))
    run.settings |= {"learning_rate": 1e-3}
    stop_after(3, lambda: script.main(run.train))
    assert "the training checkpoint has learning_rate 0.02, now 0.001: starting over" in capsys.readouterr().out
    aside = Path(run.train["params"]["scratch"] + ".set-aside")
    assert (aside / "checkpoint-3/complete").exists()
    run.tiny = run.tiny | {"dataset": other["dataset"]}
    script.main(run.train)
    record = files.read_json(run.train["output"]["record"])

    fresh = make(run.method, name="fresh")
    fresh.tiny, fresh.settings = run.tiny, run.settings
    script.main(fresh.train)
    check_same(record, run.weights, files.read_json(fresh.train["output"]["record"]), fresh.weights)
    assert record["resumed_from"] == [] and record["attempts"] == 1
    assert len(record["discarded"]) == 1 and "inputs.dataset" in record["discarded"][0]
    assert not aside.exists()  # old checkpoints do not accumulate
    check_restored(run.train)


def test_what_changes_no_number_discards_no_state(make_run):
    run = make_run(method("hra"))
    stop_after(3, lambda: train_glue.main(run.train))
    job = run.train
    job["resources"] |= {"save_seconds": 7, "runtime": 5}
    job["params"] |= {"preset": "renamed"}
    job["threads"] = 2
    train_glue.main(job)
    record = files.read_json(job["output"]["record"])
    assert record["resumed_from"] == [3] and record["discarded"] == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda job: job["params"].update(method=method("hra", peft={"r": 8})), "method.peft.r 4, now 8"),
        (lambda job: job["params"].update(task_version=2), "task_version 1, now 2"),
        (lambda job: job["wildcards"].update(seed="1"), "seed 0, now 1"),
        (lambda job: job["resources"].update(gpu=2), "processes 1, now 2"),
    ],
)
def test_a_fingerprint_names_what_differs(make_run, change, named):
    run = make_run(method("hra"))
    before, job = run.train, run.train
    job["wildcards"] = dict(job["wildcards"])
    change(job)
    found = fingerprints.differences(*(fingerprints.of_training(one, 12, True) for one in (before, job)))
    assert found == [named]


def test_a_fingerprint_holds_the_versions_of_the_libraries(make_run, monkeypatch):
    job = make_run(method("hra")).train
    before = fingerprints.of_training(job, 12, False)
    monkeypatch.setattr(fingerprints.provenance, "version", lambda name: "9.8.7" if name == "peft" else "1.0.1")
    after = fingerprints.of_training(job, 12, False)
    assert after["versions"] == {"torch": "1.0", "peft": "9.8", "transformers": "1.0", "diffusers": "1.0"}
    assert any(line.startswith("versions.peft ") for line in fingerprints.differences(before, after))


def test_a_state_without_a_fingerprint_is_set_aside(make_run):
    run = make_run(method("hra"))
    stop_after(3, lambda: train_glue.main(run.train))
    Path(run.train["params"]["scratch"], "fingerprint.json").unlink()
    train_glue.main(run.train)
    record = files.read_json(run.train["output"]["record"])
    assert record["resumed_from"] == [] and "unknown origin" in record["discarded"][0]


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
    own = ("seconds", "device_seconds", "finished", "peak_memory_bytes", "sha256")
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


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_not_resumed_from(make_run, tmp_path, capsys):
    run = make_run(method("hra"))
    stop_after(8, lambda: train_glue.main(run.train))
    scratch = Path(run.train["params"]["scratch"])
    names = sorted(path.name for path in (scratch / "checkpoint-8").iterdir())
    needed = {"complete", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trained.safetensors", "trainer_state.json"}
    assert needed <= set(names)

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    damages = {
        "missing": Path.unlink,
        "empty": lambda path: path.write_bytes(b""),
        "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
        "flipped": flip,
    }
    kept = "best/adapter_model.safetensors"
    cases = [(name, damage) for name in names for damage in damages] + [
        (f"../{kept}", "missing"),
        (f"../{kept}", "empty"),
    ]
    for number, (name, damage) in enumerate(cases):
        copy = tmp_path / str(number)
        shutil.copytree(scratch, copy)
        damages[damage](copy / "checkpoint-8" / name)
        checkpoint, problems = checkpoints.newest(copy)
        assert checkpoint is None and len(problems) == 1, (name, damage)
        assert name == "complete" or Path(name).name in problems[0], (name, damage, problems)
        assert not (copy / "checkpoint-8").exists()
    assert checkpoints.newest(scratch) == (scratch / "checkpoint-8", [])

    (scratch / "checkpoint-8/optimizer.pt").unlink()
    train_glue.main(run.train)
    assert "checkpoint-8 is incomplete: optimizer.pt is missing: starting over" in capsys.readouterr().out
    fresh = make_run(method("hra"), name="fresh")
    train_glue.main(fresh.train)
    record, expected = (files.read_json(one.train["output"]["record"]) for one in (run, fresh))
    assert record["discarded"] == ["checkpoint-8 is incomplete: optimizer.pt is missing"]
    check_same(record | {"attempts": 1}, run.weights, expected, fresh.weights)


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


def test_seconds_do_not_follow_the_clock_on_the_wall(make_run, monkeypatch):
    """Set the clock back by an hour during training."""
    run, now, step = make_run(method("hra")), time.time, interruption.CheckpointOnSignal.on_step_end

    def on_step_end(self, *arguments, **options):
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        return step(self, *arguments, **options)

    monkeypatch.setattr(interruption.CheckpointOnSignal, "on_step_end", on_step_end)
    train_glue.main(run.train)
    assert 0 < files.read_json(run.train["output"]["record"])["seconds"] < 600
