"""Why a job is planned again, in words; the lines of a real plan are in tests/workflow/test_reruns.py."""

import logging
from types import SimpleNamespace

import pytest
from snakemake.jobs import Reason
from snakemake.logging import logger
from snakemake.persistence import ParamsChange
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.snakemake_bridge import reasons


class Job(SimpleNamespace):
    __hash__ = object.__hash__


def change(before: dict, now: dict) -> ParamsChange:
    return ParamsChange(*({repr({name: value}) for name, value in params.items()} for params in (before, now)))


RATE = change({"hyperparameters": {"epochs": 3, "lr": 0.02}}, {"hyperparameters": {"epochs": 3, "lr": 0.001}})
SWAPPED = change({"runs": [*range(20)]}, {"runs": [*range(20)][::-1]})
OTHERS = ParamsChange({"'of another workflow'"}, {"<TBD>"})


def plan(params=None, done: bool = True, follows=("augment",), **facts) -> tuple[SimpleNamespace, Job]:
    """Return the plan of a job and those that it needs, and the job. `facts`: of Snakemake's reason."""
    job, *needed = (Job(rule=Job(name=name), output=["train.json"]) for name in ("train_glue", *follows))
    job.wildcards_dict = {"task": "glue"}
    reason = Reason()
    for name, value in facts.items():
        setattr(reason, name, value)
    records = SimpleNamespace(has_metadata=lambda job: done, params_changed=lambda job: params or ParamsChange())
    dag = SimpleNamespace(workflow=SimpleNamespace(persistence=records), dependencies={job: needed})
    dag.reason, dag.needrun = (lambda job: reason), (lambda job: True)
    dag.jobs, dag.jobid = [job], (lambda job: 7)
    return dag, job


@pytest.mark.parametrize(
    ("found", "causes"),
    [
        ({"params": RATE, "params_changed": RATE}, ["lr 0.02 → 0.001"]),
        ({"params": RATE, "_updated_input_run": {"a"}}, ["lr 0.02 → 0.001"]),  # not compared by Snakemake
        (
            {"params": change({"task_version": 1}, {"task_version": 2}), "forced": True},
            ["task_version 1 → 2", "forced"],
        ),
        ({"params": change({}, {"data": {"split": {"name": "dev"}}})}, ["data.split.name null → dev"]),
        (
            {"params": change({"words": [*range(20)]}, {"words": [*range(40)]})},
            ["words … (20 values) → … (40 values)"],
        ),
        ({"params": SWAPPED}, ["other runs"]),
        ({"params": SWAPPED, "_updated_input_run": {"a"}}, ["after augment, hints"]),
        ({"params": OTHERS, "params_changed": OTHERS}, ["other settings"]),
        ({"_updated_input": {"a"}, "input_changed": True}, ["other input files", "newer input files"]),
        ({"_updated_input_run": {"a"}, "_missing_output": {"b"}}, ["after augment, hints"]),
        ({"_missing_output": {"b"}}, ["missing output"]),
        ({"_missing_output": {"b"}, "_updated_input_run": {"a"}, "done": False}, []),  # a new job
    ],
)
def test_the_causes_of_a_job(found, causes):
    assert reasons.causes(*plan(follows=("hints", "augment"), **found)) == causes


@pytest.mark.parametrize("follows", [{}, {"_updated_input_run": {"a"}}])
def test_a_job_that_has_failed_was_not_done_before(follows):
    facts = {"_missing_output": {"b"}} | follows
    dag, job = plan(**facts)
    assert reasons.causes(dag, job, {"train_glue other"}) and reasons.causes(dag, job, {"train_glue glue"}) == []
    assert reasons.causes(*plan(params=RATE, **facts), {"train_glue glue"}) == ["lr 0.02 → 0.001"]


def test_the_causes_of_a_rule_are_counted():
    assert reasons.counted([["lr 0.02 → 0.001"]] * 5) == "lr 0.02 → 0.001"
    several = [["task_version 1 → 2", "lr 1 → 2"]] * 2 + [["task_version 1 → 2", "forced"], ["task_version 1 → 2", "a"]]
    assert reasons.counted(several) == "task_version 1 → 2, lr 1 → 2 (2), forced (1) and 1 more"


def test_snakemake_prints_what_differs_instead_of_all_values():
    dag, _ = plan(params_changed=RATE, input_changed=True)
    text = str(dag.reason(None))
    record = logging.makeLogRecord({"event": LogEvent.JOB_INFO, "jobid": 7, "reason": text})
    unknown = logging.makeLogRecord({"event": LogEvent.JOB_INFO, "jobid": 8, "reason": text})
    before = list(logger.filters)
    reasons.shorten(SimpleNamespace(dag=dag))
    try:
        assert all(map(logger.filter, (record, unknown, logging.makeLogRecord({}))))
    finally:
        logger.filters[:] = before
    assert record.reason == (
        "Set of input files has changed since last execution; Params have changed since last execution: lr 0.02 → 0.001"
    )
    assert unknown.reason == text and "'epochs': 3" in text
