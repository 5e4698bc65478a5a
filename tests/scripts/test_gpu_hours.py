"""GPU-hours in the plan: by stage and method, their basis, and the limit of the config."""

from dataclasses import replace

import pytest

from hra_workflow import tasks
from hra_workflow.config import overlays
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.cost import estimates, hours, plan, planned_jobs
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


def test_hours_by_stage_and_method(here):
    assert plan.table("table_glue", bill()) == [
        "table_glue: 9 jobs (0 done), including 5 training runs, 2 shards, 1 evaluation",
        "  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining (estimated from the config)",
        "  stages:   train 1,510, generate 40, evaluate 0.25",
        "  methods:  hra 1,240, lora 300, oft 10",
        "  longest:  420 hours for glue/cola/hra/r8/seed0, one job after another",
    ]


def test_the_longest_run_counts_the_whole_time_of_shared_gpus_and_a_fraction_on_several(here):
    several, shared = job("train_control", 80.0, gpus=8), job("train_glue", 10.0, method="lora")
    shared.runs_per_gpu = 3
    assert plan.estimate([several, job("evaluate_control", 1.0)]).longest() == (11.0, "glue/cola/hra/r8/seed0")
    assert plan.estimate([several, shared]).longest() == (30.0, "glue/cola/lora/r8/seed0")


def test_how_sure_the_estimate_is(here):
    measured, tried, unknown = job("train_glue", 9.0), job("train_math", 1.0), job("evaluate_glue", None)
    done = job("train_glue", None, seed="1")
    done.record, done.needed, tried.basis = "train.json", False, estimates.PROBED
    here(done.record, {"seconds": 7200, "device": "NVIDIA H100"})
    assert str(plan.estimate([done, measured, tried, unknown, job("train_control", 4.0)])) == (
        "2 GPU-hours used, about 7 GPU-hours remaining (4 estimated from the config; 2 measured by finished jobs; "
        "1 measured by hra-workflow smoke; no estimate for 1 job: evaluate_glue)"
    )


def test_a_run_counts_the_hours_of_its_share_of_a_gpu(here):
    (finished,) = done = [run("train_glue", "train.json", task="glue", dataset="cola")]
    finished.work, finished.gpus = 100.0, 1
    content = {"seconds": 7200.0, "device_seconds": 1800.0, "processes": 1, "device": "NVIDIA A100"}
    files.write_json(finished.record, content)
    left = run("train_glue", "train.json", task="glue", dataset="rte")
    left.work, left.gpus, left.runs_per_gpu = 400.0, 1, 4
    found = hours.add_up(done, [left])
    assert (found.gpu, found.left) == (0.5, 2.0)
    config = paper_config()
    config["tasks"]["glue"]["resources"]["minutes"] = 60
    assert estimates.by_config(tasks.load(config), left) == 900.0


def test_several_tables_are_added_up_and_a_job_of_two_counts_once(here, capsys):
    jobs = bill()
    plan.show(paper_config() | {"max_gpu_hours": 1500}, {"table_a": jobs, "table_b": jobs[:4]}, jobs)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")][1:] == [
        "table_b: 4 jobs (0 done), including 4 training runs",
        "all 2 tables: 9 jobs",
    ]
    assert lines[11].startswith("  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining")
    assert lines[-1].startswith("  warning:  The remaining jobs need about 1,550 GPU-hours (estimated from the config)")
    for one in jobs:
        one.needed = False
    plan.show(paper_config(), {"table_a": jobs, "table_b": jobs[:4]}, jobs)
    assert capsys.readouterr().out == "table_a, table_b: nothing to do, all 9 jobs are done\n"


def test_a_run_above_the_budget_refuses_to_start(here, capsys):
    config, jobs = paper_config(), bill()
    other = job("figures", None, gpus=0)

    def start(**changes) -> None:
        plan.start(config | changes, {"table_glue": jobs}, [*jobs, other])

    with pytest.raises(JobError, match=r"need about 1,550 GPU-hours .*raise the limit: --config max_gpu_hours=1551"):
        start(max_gpu_hours=1550)
    assert not planned_jobs.TABLES.exists()
    jobs[0].needed = False  # finished jobs do not count
    start(max_gpu_hours=1550)
    saved = {name: planned_jobs.load(path) for results, name, path in planned_jobs.saved() if results == "results"}
    assert saved == {"table_glue": jobs, planned_jobs.OTHER: [other]}
    assert capsys.readouterr().err == ""
    jobs.append(job("evaluate_harness", None))
    start(max_gpu_hours=1551)
    text = "`max_gpu_hours` cannot count all jobs: no estimate for 1 job: evaluate_harness\n"
    assert capsys.readouterr().err == text
    start(max_gpu_hours=1, preflight=True)  # probes are not the run that is limited
    assert capsys.readouterr().err == ""


def test_the_hours_of_a_job_are_those_of_earlier_jobs_with_its_model(here):
    """A first plan on a CPU knows none; after the jobs have finished, another dataset's plan is measured."""
    config = overlays.merged(paper_config(), overlays.read(ROOT / "config/demo/config.yaml"))

    def planned(*datasets: str) -> hours.Hours:
        planned.jobs = [run("train_glue", "train.json", task="glue", dataset=name) for name in datasets]
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
