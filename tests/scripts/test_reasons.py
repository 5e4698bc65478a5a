"""Why a job is planned again, in words; the lines of a real plan are in tests/workflow/test_reruns.py."""

from types import SimpleNamespace

import pytest
from snakemake.jobs import Reason
from snakemake.persistence import ParamsChange

from hra_workflow.core import files
from hra_workflow.snakemake_bridge import dry_run


class Job(SimpleNamespace):
    __hash__ = object.__hash__


OTHER = ParamsChange({"'0123'"}, {"'4567'"})
RATES = ({"hyperparameters": {"epochs": 3, "lr": 0.02}}, {"hyperparameters": {"epochs": 3, "lr": 0.001}})


@pytest.fixture
def plan(tmp_path):
    """plan(before, now, **facts): the plan of a job with these settings, and the job. facts: of its reason."""

    def make(before: dict, now: dict, changed=OTHER, done=True, **facts) -> tuple:
        output = tmp_path / "train.json"
        if before:
            files.write_json(output, {"made_from": {"settings": before}})
        job, needed = (
            Job(rule=Job(name=name), output=[str(output)], log=["train.log"]) for name in ("train_glue", "augment")
        )
        job.wildcards_dict, job.params = {"task": "glue"}, now | {"expects": {"settings": list(now), "before": {}}}
        reason = Reason()
        for name, value in facts.items():
            setattr(reason, name, value)
        records = SimpleNamespace(has_metadata=lambda job: done, params_changed=lambda job: changed)
        dag = SimpleNamespace(workflow=SimpleNamespace(persistence=records), dependencies={job: [needed]})
        dag.reason, dag.needrun = (lambda job: reason), (lambda job: True)
        return dag, job

    return make


@pytest.mark.parametrize(
    ("settings", "facts", "causes"),
    [
        (RATES, {"_updated_input_run": {"a"}}, ["lr 0.02 → 0.001"]),  # not compared by Snakemake
        (({"task_version": 1}, {"task_version": 2}), {"forced": True}, ["task_version 1 → 2", "forced"]),
        (({"a": 1}, {"a": 1, "data": {"split": {"name": "dev"}}}), {}, ["data.split.name null → dev"]),
        (({}, {"a": 1}), {"params_changed": OTHER}, ["other settings"]),  # a table
        (RATES, {"changed": ParamsChange(), "_updated_input": {"a"}}, ["newer input files"]),
        (RATES, {"changed": ParamsChange(), "_missing_output": {"b"}}, ["missing output"]),
        (RATES, {"_missing_output": {"b"}, "_updated_input_run": {"a"}, "done": False}, []),  # a new job
    ],
)
def test_the_causes_of_a_job(plan, settings, facts, causes):
    assert dry_run.causes(*plan(*settings, **facts)) == causes


def test_the_causes_of_a_rule_are_counted():
    assert dry_run.counted([["lr 0.02 → 0.001"]] * 5) == "lr 0.02 → 0.001"
    several = [["task_version 1 → 2", "lr 1 → 2"]] * 2 + [["task_version 1 → 2", "forced"], ["task_version 1 → 2", "a"]]
    assert dry_run.counted(several) == "task_version 1 → 2, lr 1 → 2 (2), forced (1) and 1 more"
