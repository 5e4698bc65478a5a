"""Estimates by earlier jobs with the same model, and numbers as people write them."""

from dataclasses import replace

import pytest

from hra_workflow.config import overlays
from hra_workflow.core import files, wording
from hra_workflow.cost import estimates, hours, plan, planned_jobs
from hra_workflow.cost.planned_jobs import Job
from support import ROOT, paper_config


def run(task: str, **wildcards) -> Job:
    wildcards = {"task": task, **{name: str(value) for name, value in wildcards.items()}}
    record = f"results/{'/'.join(wildcards.values())}/train.json"
    return Job(f"train_{task}", wildcards, [record], "log", record=record)


def test_the_hours_of_a_job_are_those_of_earlier_jobs_with_its_model(here):
    """A first plan on a CPU knows none; after the jobs have finished, another dataset's plan is measured."""
    config = overlays.merged(paper_config(), overlays.read(ROOT / "config/demo/config.yaml"))

    def planned(*datasets: str) -> hours.Hours:
        planned.jobs = [run("glue", dataset=name, method="hra", variant="r8", seed=0) for name in datasets]
        planned.jobs.append(Job("table", {"task": "glue"}, ["table.csv"], "log"))
        estimates.add_estimates(config, planned.jobs)
        return plan.estimate(planned.jobs)

    text = "0 CPU-hours used, unknown CPU-hours remaining (no estimate for 1 job: train_glue)"
    assert str(planned("sentiment")) == text
    files.write_json(planned.jobs[0].record, {"seconds": 20.0, "processes": 1, "device": "CPU: any"})
    planned_jobs.save("other/results/tried", "table_glue", [replace(job, probe=True) for job in planned.jobs])
    assert not [*planned_jobs.every()]
    planned_jobs.save("other/results", "table_glue", planned.jobs)  # of another project
    (planned_jobs.folder("other/results") / "table_math.json").write_text('[{"rule": ')  # of a full disk
    larger = config["datasets"]["glue"]["sentiment"] | {"rows": {"train": 1920, "validation": 600}, "tokens": 26}
    config["datasets"]["glue"]["larger"] = larger
    second = planned("sentiment", "larger")
    assert [job.basis for job in second.remaining] == [estimates.MEASURED] * 2
    more = planned.jobs[1].work / planned.jobs[0].work
    assert more > 2 and [job.seconds for job in second.remaining] == pytest.approx([20, 20 * more])
    config["tasks"]["glue"]["model"] = "modernbert-base"
    assert str(planned("sentiment")) == text


def test_numbers_as_people_write_them():
    numbers = (0, 1140.4, 0.2512, 0.000012, 66.66, 1_234_567)
    assert [wording.number(value) for value in numbers] == ["0", "1,140", "0.251", "0.000012", "66.7", "1,230,000"]
    assert [wording.hours(value) for value in (0, 0.1, 0.0467, 0.00967, 2e-5)] == [
        "0",
        "0.1",
        "2.8 min",
        "35 s",
        "0.072 s",
    ]
    assert wording.hours_of(0.0467, "CPU") == "2.8 CPU-minutes" and wording.hours_of(420) == "420 hours"
