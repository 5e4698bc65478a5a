"""The estimates of jobs on a CPU: by earlier jobs, or else guessed from the size of the model."""

import re
from dataclasses import replace

import pytest

from hra_workflow import methods, tasks
from hra_workflow.config import overlays
from hra_workflow.core import files, wording
from hra_workflow.cost import cpu_time, gpu_hours, plan, planned_jobs
from hra_workflow.cost.planned_jobs import Job
from support import ROOT, paper_config


def run(task: str, **wildcards) -> Job:
    wildcards = {"task": task, **{name: str(value) for name, value in wildcards.items()}}
    record = f"results/{'/'.join(wildcards.values())}/train.json"
    return Job(f"train_{task}", wildcards, [record], "log", record=record)


def test_the_hours_of_a_cpu_are_those_of_earlier_jobs_or_else_guessed(here):
    """A first plan gives a range of minutes; after the jobs have finished, another dataset's plan is measured."""
    config = overlays.merged(paper_config(), overlays.read(ROOT / "config/demo/config.yaml"))

    def planned(*datasets: str) -> gpu_hours.Hours:
        planned.jobs = [run("glue", dataset=name, method="hra", variant="r8", seed=0) for name in datasets]
        planned.jobs.append(Job("table", {"task": "glue"}, ["table.csv"], "log"))
        gpu_hours.add_estimates(config, planned.jobs)
        return plan.estimate(planned.jobs)

    first = planned("sentiment")
    (guessed,) = first.estimates
    flops = 6 * 22.7e6 * 12 * planned.jobs[0].work  # forward and backward pass of 12 tokens per row
    assert guessed.bounds[0] * 3600 == pytest.approx(cpu_time.STARTUP[0] + flops / cpu_time.FLOPS[1])
    assert guessed.bounds[0] < 22 / 3600 < 210 / 3600 < guessed.bounds[1]  # on a free core, on one of six processes
    assert re.fullmatch(
        r"0 CPU-hours used, about [\d.]+ CPU-minutes \(1 to \d+ min\) remaining \(guessed from the size of the model "
        r"until a job has finished or `hra-workflow smoke` has measured one; 1 short job of about 10 s each\)",
        str(first),
    )
    files.write_json(planned.jobs[0].record, {"seconds": 20.0, "processes": 1, "device": "CPU: any"})
    planned_jobs.save("other/results/tried", "table_glue", [replace(job, probe=True) for job in planned.jobs])
    assert not [*planned_jobs.every()]
    planned_jobs.save("other/results", "table_glue", planned.jobs)  # of another project
    (planned_jobs.folder("other/results") / "table_math.json").write_text('[{"rule": ')  # of a full disk
    config["datasets"]["glue"]["paraphrase"]["rows"] = {"train": 1920, "validation": 600}
    second = planned("sentiment", "paraphrase")
    assert [one.basis for one in second.estimates] == [gpu_hours.EARLIER] * 2
    # More work takes longer in proportion, or less, as the ten seconds of a job's start remain.
    more = planned.jobs[1].work / planned.jobs[0].work
    assert more > 2 and [one.hours * 3600 for one in second.estimates] == pytest.approx([20, 20 * more])
    assert [limit * 3600 for limit in second.estimates[1].bounds] == pytest.approx([10 + 10 * more, 20 * more])
    config["tasks"]["glue"]["model"] = "modernbert-base"
    assert [one.basis for one in planned("sentiment").estimates] == [gpu_hours.GUESSED]


def test_a_guess_takes_the_length_of_the_texts_from_their_card(here):
    """Not from `max_length`, which may be a hundred times as long; without either, the hours are unknown."""
    config = overlays.merged(paper_config(), overlays.read(ROOT / "config/demo/config.yaml"))
    del config["datasets"]["glue"]["sentiment"]["tokens"]
    config["presets"]["glue"]["demo"]["all"]["max_length"] = 512
    job = run("glue", dataset="sentiment", method="hra", variant="r8", seed=0)

    def flops(characters: int | None) -> float | None:
        split = {"rows": 960} | ({"characters": characters} if characters else {})
        card = {"splits": {"train": split, "validation": {"rows": 300}}}
        files.write_json("demo/resources/datasets/glue/sentiment.card.json", card)
        gpu_hours.add_estimates(config, [job])
        return (job.guessed[1] - cpu_time.STARTUP[0]) * cpu_time.FLOPS[1] if job.guessed else None

    assert flops(48) == pytest.approx(6 * 22.7e6 * 12 * job.work)
    assert flops(50_000) == pytest.approx(6 * 22.7e6 * 512 * job.work)
    assert flops(None) is None and str(plan.estimate([job])).endswith("(no estimate for 1 job: train_glue)")


def test_every_task_of_the_demo_has_a_guess_for_its_runs_on_a_cpu(here):
    config = overlays.merged(paper_config(), overlays.read(ROOT / "config/demo/config.yaml"))
    for task in tasks.load(config).values():
        for one in (one for one in task.runs() if methods.get(config, one["method"]).trains):
            job = run(task.name, **one)
            gpu_hours.add_estimates(config, [job])
            assert 0 < job.guessed[1] < job.guessed[0] < job.guessed[2] < 3600, job.name
        base = run(task.name, dataset=one["dataset"], method="base", variant="pretrained", benchmark="b")
        base.rule, base.work, base.model = "evaluate_" + task.name, 1.0, task.settings["model"]
        assert cpu_time.guess(config, task, base), task.name


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
    assert wording.span(100, 3000) == "2 to 50 min" and wording.span(1000, 9000) == "17 min to 2.5 h"


def test_grading_answers_needs_no_pass_of_the_model(here):
    run = {"task": "math", "dataset": "metamathqa-40k", "method": "hra", "variant": "r32", "seed": "0"}
    job = Job("evaluate_math", run | {"benchmark": "gsm8k"}, ["metrics.json"], "log")
    gpu_hours.add_estimates(paper_config(), [job])
    assert job.guessed[1:] == list(cpu_time.STARTUP)
