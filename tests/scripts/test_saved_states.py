"""A training checkpoint is used only by the training run that it belongs to."""

import pytest

import train_glue
from hra_workflow.core import files, made_from
from hra_workflow.core.gpus import processes
from hra_workflow.training import callbacks
from saved_states import check_restored, check_same, stop_after
from support import DATASET, TINY_MODEL, downloaded, method, write_sentences


@pytest.mark.slow
def test_a_state_of_another_rate_or_other_data_is_deleted(make_run, tmp_path, capsys):
    """Stopped in the middle, the rate and then the data changed: the record of a fresh training, to the last digit."""
    write_sentences(tmp_path / "raw")
    with (tmp_path / "raw/train.csv").open("a") as stream:
        stream.write("rise rise fall,1\n" * 8)
    other = downloaded(tmp_path, TINY_MODEL, "glue/tiny", DATASET)
    run = make_run(method("hra"))
    run.settings |= {"learning_rate": 2e-2}
    stop_after(3, lambda: train_glue.main(run.train))
    run.settings |= {"learning_rate": 1e-3}
    stop_after(3, lambda: train_glue.main(run.train))
    assert "the training checkpoint has learning_rate 0.02, now 0.001: starting over" in capsys.readouterr().out
    run.tiny = run.tiny | {"dataset": other["dataset"]}
    train_glue.main(run.train)
    record = files.read_json(run.train["output"]["record"])

    fresh = make_run(run.method, name="fresh")
    fresh.tiny, fresh.settings = run.tiny, run.settings
    train_glue.main(fresh.train)
    check_same(record, run.weights, files.read_json(fresh.train["output"]["record"]), fresh.weights)
    assert record["resumed_from"] == [] and record["attempts"] == 1
    assert len(record["discarded"]) == 1 and "inputs.dataset" in record["discarded"][0]
    check_restored(run.train)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda job: job["params"].update(method=method("hra", peft={"r": 8})), "method.peft.r 4, now 8"),
        (lambda job: job["params"].update(task_version=2), "task_version 1, now 2"),
        (lambda job: job["wildcards"].update(seed="1"), "result glue/{}/hra/v/0, now glue/{}/hra/v/1"),
        (lambda job: job["resources"].update(gpu=2), "processes 1, now 2"),
    ],
)
def test_a_checkpoint_of_another_run_is_named_by_what_differs(make_run, change, named):
    run = make_run(method("hra"))
    before, job = run.train, run.train
    job["wildcards"] = dict(job["wildcards"])
    change(job)
    found = made_from.differences(*(made_from.of_training(one, 12, processes(one)) for one in (before, job)))
    assert found == [named.format(*[run.data] * 2)]


def test_a_training_stops_before_the_time_limit_of_its_job_and_resumes_with_settings_that_change_no_number(
    make_run, monkeypatch
):
    run = make_run(method("hra"))
    monkeypatch.setenv("SLURM_JOB_END_TIME", "0")
    with pytest.raises(callbacks.Interrupted, match="time limit"):
        train_glue.main(run.train)
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    job = run.train
    job["resources"] |= {"save_seconds": 7, "runtime": 5}
    job["params"] |= {"preset": "renamed"}
    train_glue.main(job | {"threads": 2})
    record = files.read_json(job["output"]["record"])
    assert record["resumed_from"] == [1] and record["discarded"] == []
