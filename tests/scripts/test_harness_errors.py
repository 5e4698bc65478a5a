"""The harness's tasks, results and memory: what is refused, and what goes on."""

import os
from pathlib import Path

import pytest

import download_harness
import evaluate_harness
from harness_jobs import BENCHMARKS, TASKS, evaluate_job
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError


@pytest.fixture
def own_environment(monkeypatch):
    """Restore variables that the scripts set for their process, which is pytest's here."""
    for name in (*download_harness.CACHES, "HF_ALLOW_CODE_EVAL", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def few_tasks(monkeypatch):
    """Restrict the registry to HumanEval and the custom tasks."""
    import lm_eval.tasks

    class Few(lm_eval.tasks.TaskManager):
        def __init__(self, include_path):
            builtin = Path(lm_eval.tasks.__file__).parent / "humaneval"
            super().__init__(include_path=[builtin, include_path], include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", Few)


@pytest.mark.parametrize("task", ["humaneval", "humaneval_instruct", "alphabet_code"])
def test_generated_programs_do_not_run_unless_the_config_says_so(own_environment, few_tasks, task):
    benchmark = {"task": task, "shots": 0, "metric": "pass@1"}
    with pytest.raises(JobError, match=rf"benchmark X: {task} executes programs written by the model.*unsafe_code"):
        download_harness.open_tasks({"X": benchmark}, TASKS)
    assert "HF_ALLOW_CODE_EVAL" not in os.environ
    download_harness.open_tasks({"X": benchmark | {"unsafe_code": True}}, TASKS)
    assert os.environ["HF_ALLOW_CODE_EVAL"] == "1"


def test_a_misspelt_task_is_refused_with_the_nearest(own_environment, few_tasks):
    with pytest.raises(JobError, match=r"no task 'humanevl' \(is it 'humaneval'\?\)\. Correct the name"):
        download_harness.open_tasks({"X": {"task": "humanevl"}}, TASKS)


@pytest.mark.parametrize(
    ("held", "task"), [({"lm_eval": "0.0.1"}, "alphabet"), ({"requested": ["alphabet"]}, "alphabet_write")]
)
def test_data_of_another_harness_or_without_the_task_are_refused(tmp_path, held, task):
    installed = evaluate_harness.provenance.version("lm_eval")
    files.write_json(tmp_path / "x.manifest.json", {"folder": "x", "lm_eval": installed, "requested": [task]} | held)
    with pytest.raises(JobError, match="Delete it and run again"):
        evaluate_harness.open_harness(tmp_path / "x.manifest.json", {"X": {"task": task}})


def test_without_a_sandbox_the_job_ends_before_it_reads_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    job = evaluate_job(tmp_path)
    records.write(job["input"]["record"], {"status": "ok"})  # which says that the run has not diverged
    with pytest.raises(JobError, match="bubblewrap is not installed"):
        evaluate_harness.main(job)


def found(**changes) -> dict:
    """Build a short version of the harness's results."""
    return {
        "results": {"t": {"acc,a": 0.5, "acc_stderr,a": "N/A", "acc,b": 1.0, "acc_stderr,b": 0.1, "sample_len": 1}},
        "n-shot": {"t": 5},
        "configs": {"t": {}},
        "versions": {"t": 1},
    } | changes


def test_one_item_has_no_standard_error():
    assert evaluate_harness.result("X", {"task": "t", "metric": "acc,a", "shots": 5}, found())["stderr"] is None


@pytest.mark.parametrize(
    ("metric", "shots", "message"),
    [
        ("acc", 5, "'acc' is ambiguous for t; it has acc,a, acc,b"),
        ("ac", 5, "'ac' is unknown for t; it has acc,a, acc,b"),
        ("acc,b", 4, "t ran with 5 shots instead of 4"),
    ],
)
def test_a_result_other_than_the_config_asks_for_is_refused(metric, shots, message):
    with pytest.raises(JobError, match=message):
        evaluate_harness.result("X", {"task": "t", "metric": metric, "shots": shots}, found())


@pytest.mark.parametrize(("room", "tried"), [(3, [8, 4, 2]), (0, [8, 4, 2, 1])])
def test_out_of_memory_halves_the_batch(monkeypatch, room, tried):
    import lm_eval
    import lm_eval.models.huggingface

    sizes = []

    def simple_evaluate(batch_size, **_):  # HFLM's place takes its batch size
        sizes.append(batch_size)
        if batch_size > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return "done"

    monkeypatch.setattr(lm_eval, "simple_evaluate", simple_evaluate)
    monkeypatch.setattr(lm_eval.models.huggingface, "HFLM", lambda *_, batch_size, **__: batch_size)
    arguments = ("X", BENCHMARKS["Lower"], None, None, None, {"batch_size": 8, "limit": None})
    if room:
        assert evaluate_harness.run(*arguments) == "done"
    else:
        with pytest.raises(JobError, match="a single sequence does not fit"):
            evaluate_harness.run(*arguments)
    assert sizes == tried


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch):
    import lm_eval.models.huggingface

    def refuse(*_, **__):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(lm_eval.models.huggingface, "HFLM", refuse)
    with pytest.raises(RuntimeError, match="device-side assert"):
        evaluate_harness.run("X", BENCHMARKS["Lower"], None, None, None, {"batch_size": 8, "limit": None})
