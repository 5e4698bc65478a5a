"""GPU-hours in the plan: by stage, and their basis."""

import pytest

from hra_workflow import tasks
from hra_workflow.config import overlays
from hra_workflow.core import files
from hra_workflow.cost import estimates, hours, plan
from hra_workflow.cost.planned_jobs import Job
from support import ROOT, paper_config


def run(rule: str, *outputs: str, **wildcards: str) -> Job:
    wildcards = {"method": "hra", "variant": "r8", "seed": "0"} | wildcards
    place = "/".join(("results", *(wildcards[name] for name in ("task", "dataset", "method", "variant"))))
    paths = [f"{place}/{output}" for output in outputs]
    return Job(rule, wildcards, paths, "log", record=next((path for path in paths if path.endswith("json")), None))


def job(rule: str, hours: float | None, gpus: int = 1, **wildcards: str) -> Job:
    """Return a job that is estimated from the config, if `hours` are known."""
    wildcards = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8", "seed": "0"} | wildcards
    record = f"results/{rule}/{'/'.join(wildcards.values())}/train.json"
    estimate = {"seconds": hours * 3600, "basis": estimates.CONFIGURED} if hours else {}
    return Job(rule, wildcards, [record], "log", record=record, gpus=gpus, **estimate)


def bill() -> list[Job]:
    return [
        *(job("train_glue", 400.0, seed=seed) for seed in "012"),
        job("train_glue", 300.0, method="lora"),
        job("train_glue", 10.0, method="oft"),
        *(job("generate_math", 20.0, shard=shard, n_shards="2", benchmark="gsm8k") for shard in "01"),
        job("evaluate_glue", 0.25, method="lora"),
        job("table", None, gpus=0),
    ]


def test_hours_by_stage(here):
    assert plan.table("table_glue", bill()) == [
        "table_glue: 9 jobs (0 done), including 5 training runs, 2 shards, 1 evaluation",
        "  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining (estimated from the config)",
        "  stages:   train 1,510 hours, generate 40 hours, evaluate 0.25 hours",
    ]


def test_a_run_counts_the_hours_of_its_share_of_a_gpu(here):
    (finished,) = done = [run("train_glue", "train.json", task="glue", dataset="cola")]
    finished.work, finished.gpus = 100.0, 1
    content = {"seconds": 7200.0, "device_seconds": 1800.0, "processes": 1, "device": "NVIDIA A100"}
    files.write_json(finished.record, content)
    left = run("train_glue", "train.json", task="glue", dataset="rte")
    left.work, left.gpus, left.runs_per_gpu = 400.0, 1, 4
    found = hours.add_up(done, [left])
    assert (found.gpu, found.by_stage()) == (0.5, {"train": 2.0})
    config = paper_config()
    config["tasks"]["glue"]["resources"]["minutes"] = 60
    assert estimates.by_config(tasks.load(config), left) == 900.0


def test_several_tables_are_added_up_and_a_job_of_two_counts_once(here, capsys):
    jobs = bill()
    plan.show(paper_config(), {"table_a": jobs, "table_b": jobs[:4]}, jobs)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")][1:] == [
        "table_b: 4 jobs (0 done), including 4 training runs",
        "all 2 tables: 9 jobs",
    ]
    assert lines[7].startswith("  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining")


def test_a_first_plan_on_a_cpu_knows_no_hours_until_jobs_of_the_table_have_finished(here):
    config = overlays.merged(paper_config(), overlays.read(ROOT / "config/demo/config.yaml"))
    larger = config["datasets"]["glue"]["sentiment"] | {"rows": {"train": 1920, "validation": 600}, "tokens": 26}
    config["datasets"]["glue"]["larger"] = larger
    jobs = [run("train_glue", "train.json", task="glue", dataset=name) for name in ("sentiment", "larger")]
    jobs.append(Job("table", {"task": "glue"}, ["table.csv"], "log"))
    estimates.add_estimates(config, jobs)
    text = "0 CPU-hours used, unknown CPU-hours remaining (no estimate for 2 jobs: train_glue)"
    assert str(hours.estimate(jobs)) == text
    files.write_json(jobs[0].record, {"seconds": 20.0, "processes": 1, "device": "CPU: any"})
    jobs[0].needed = False
    (left,) = hours.estimate(jobs).remaining
    more = jobs[1].work / jobs[0].work
    assert left.basis == estimates.MEASURED and more > 2 and left.seconds == pytest.approx(20 * more)
