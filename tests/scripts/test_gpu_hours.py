"""GPU-hours in the plan: of runs that share a GPU, by stage, and of several tables."""

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.cost import estimates, plan
from hra_workflow.cost.planned_jobs import Job
from support import paper_config


def job(rule: str, hours: float | None = None, gpus: int = 1, **wildcards: str) -> Job:
    """Return a job that is estimated from the config, if `hours` are known."""
    wildcards = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8", "seed": "0"} | wildcards
    record = f"results/{rule}/{'/'.join(wildcards.values())}/train.json"
    estimate = {"seconds": hours * 3600, "basis": estimates.CONFIGURED} if hours else {}
    return Job(rule, wildcards, [record], "log", record=record, gpus=gpus, **estimate)


def test_a_run_counts_the_hours_of_its_share_of_a_gpu(here):
    finished, left = job("train_glue"), job("train_glue", dataset="rte")
    finished.work, left.work, left.runs_per_gpu = 100.0, 400.0, 4
    content = {"seconds": 7200.0, "device_seconds": 1800.0, "processes": 1, "device": "NVIDIA A100"}
    files.write_json(finished.record, content)
    found = estimates.add_up([finished], [left])
    assert (found.gpu, found.by_stage()) == (0.5, {"train": 2.0})
    config = paper_config()
    config["tasks"]["glue"]["resources"]["minutes"] = 60
    assert estimates.by_config(tasks.load(config), left) == 900.0


def test_several_tables_are_added_up_and_a_job_of_two_counts_once(here, capsys):
    jobs = [job("train_glue", 400.0), job("train_glue", 300.0, method="lora")]
    jobs += [job("generate_math", 20.0, shard=shard, n_shards="2", benchmark="gsm8k") for shard in "01"]
    jobs += [job("evaluate_glue", 0.25, method="lora"), job("table", gpus=0)]
    plan.show(paper_config(), {"table_a": jobs, "table_b": jobs[:1]}, jobs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "table_a: 6 jobs (0 done), including 2 training runs, 2 shards, 1 evaluation",
        "  hours:    0 GPU-hours used, about 740 GPU-hours remaining (estimated from the config)",
        "  stages:   train 700 hours, generate 40 hours, evaluate 0.25 hours",
    ]
    more = ["table_b: 1 job (0 done), including 1 training run", "all 2 tables: 6 jobs"]
    assert [line for line in lines if not line.startswith(" ")][1:] == more
