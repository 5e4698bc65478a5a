"""Hours used and remaining, in the plan and in `hra-workflow status`."""

import copy
import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from hra_workflow import tasks
from hra_workflow.cost import estimates, planned_jobs
from hra_workflow.cost.estimates import Hours, add_up

TABLE = "results/table_glue.csv"


RECORD = {"seconds": 7200.0, "processes": 2, "device": "NVIDIA A100", "adapter_bytes": 5_000_000}


def training(dataset: str = "cola", method: str = "hra", seed: int = 0, **facts) -> planned_jobs.Job:
    wildcards = {"task": "glue", "dataset": dataset, "method": method, "variant": "r8", "seed": str(seed)}
    place = "/".join(wildcards.values())
    outputs = [f"{place}/train.json", f"{place}/last.safetensors", f"{place}/best.safetensors"]
    job = planned_jobs.Job("train_glue", wildcards, outputs, f"{place}/log", f"{place}/train.error.json", outputs[0])
    estimate = {"seconds": 3600.0, "basis": estimates.CONFIGURED}
    return dataclasses.replace(job, **{"gpus": 2, "work": 100.0} | estimate | facts)


def left(hours: Hours) -> float:
    return sum(hours.by_stage().values())


def test_hours_by_records_and_by_the_config(here):
    first = training()
    here(first.record, RECORD)
    assert add_up([first], []) == Hours(gpu=4.0)
    again, other, elsewhere = training(seed=1), training(method="lora", work=50.0), training("mnli", "lora", work=500.0)
    # As the same run and data, as the same data, as the same rule: 4 GPU-hours for a work of 100.
    hours = add_up([first, *(training(seed=seed, work=1e9) for seed in (2, 3))], [again, other, elsewhere])
    assert [job.hours for job in hours.remaining] == [4.0, 2.0, 20.0]
    assert (hours.gpu, left(hours)) == (4.0, 26.0)
    assert [job.basis for job in hours.remaining] == [estimates.MEASURED] * 3
    here(other.record, RECORD | {"processes": 1})
    assert left(add_up([first, other], [elsewhere])) == pytest.approx((4 + 2) / 150 * 500)
    assert left(add_up([first, other], [training("mnli", "lora", work=None)])) == pytest.approx(3.0)
    hours = add_up([], [again, training(seconds=None, basis="")])
    assert (left(hours), [job.basis for job in hours.remaining]) == (1.0, [estimates.CONFIGURED, ""])
    base = training(method="base", work=0.0)
    here(base.record, RECORD | {"seconds": 0.02})
    (one,) = add_up([base], [again]).remaining
    assert one.basis == estimates.CONFIGURED  # nothing is measured
    assert left(add_up([base, first], [elsewhere])) == pytest.approx(20)


def test_hours_on_a_cpu_and_of_generations(here):
    cpu, broken = training(gpus=0), training(seed=2)
    here(cpu.record, RECORD | {"device": "CPU: Xeon", "processes": 1})
    here(broken.record, {})
    Path(broken.record).write_text("")  # truncated
    shard = planned_jobs.Job("generate_math", {}, ["shard"], "log", benchmark="shard.tsv", gpus=1)
    with open(shard.benchmark, "w") as stream:
        stream.write("s\th:m:s\n3600\t1:00:00\n")
    assert add_up([cpu, broken, shard], []).gpu == pytest.approx(1.0)
    assert add_up([cpu], []) == Hours(cpu=2.0)
    # A job on the CPU is estimated from one on a CPU, one on a GPU is not.
    left = [training(gpus=0, seed=3, work=200.0), training(seed=4, seconds=None, basis="")]
    assert str(add_up([cpu], left)) == (
        "0 GPU-hours and 2 CPU-hours used, unknown GPU-hours and about 4 CPU-hours remaining "
        "(measured by finished jobs; no estimate for 1 job: train_glue)"
    )


CONFIG = {
    "preflight": True,  # no evaluation in training
    "probes": {"command": None},
    "methods": {"hra": {"kind": "hra", "variants": {"r8": {"preset": {}}}}, "base": {"kind": "pretrained"}},
    "presets": {"glue": {"p": {"all": {"epochs": 10, "batch_size": 32, "eval_steps": 100}}}},
    "tasks": {
        "glue": {"preset": "p", "defaults": {}, "resources": {"rows_per_second": 50}},
        "math": {
            "generation": {"resources": {"rows_per_second": 2}},
            "retention": {"resources": {"minutes": 30}},
            "resources": {},
        },
    },
    "datasets": {
        "glue": {"cola": {"rows": {"train": 3200, "dev": 300}, "benchmarks": {"dev": "dev"}}},
        "math": {"meta": {"benchmarks": {"gsm8k": "gsm8k/test"}}, "gsm8k": {"rows": {"test": 800}}},
    },
}
TASKS = tasks.load(CONFIG)


def test_the_work_of_a_job():
    run = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8"}
    # 10 × 3200 rows forward and backward; 10 times the 300 rows of dev forward, a third of that.
    assert estimates.work(TASKS, "train_glue", run) == pytest.approx(32000 + 10 * 100)
    tenth = copy.deepcopy(CONFIG)
    tenth["presets"]["glue"]["p"]["all"]["eval_steps"] = 0.1  # of the 1000 steps
    assert estimates.work(tasks.load(tenth), "train_glue", run) == pytest.approx(32000 + 10 * 100)
    assert estimates.work(TASKS, "train_glue", run | {"method": "base"}) == 0
    assert estimates.work(TASKS, "evaluate_glue", run | {"benchmark": "dev"}) == pytest.approx(2 * 100)  # last and best
    shard = {"task": "math", "dataset": "meta", "benchmark": "gsm8k", "n_shards": "4"}
    assert estimates.work(TASKS, "generate_math", shard) == 200
    assert (
        estimates.work(TASKS, "evaluate_harness", run | {"task": "math"}) is estimates.work(TASKS, "runs", {}) is None
    )
    for job, seconds in (
        (training(), 2.0 + 2 * estimates.STARTUP_SECONDS),
        (planned_jobs.Job("generate_math", shard, ["out"], "log", work=200), 100 + estimates.CPU_STARTUP_SECONDS),
        (planned_jobs.Job("evaluate_harness", shard, ["out"], "log", gpus=2), 3600),
        (planned_jobs.Job("table", {"task": "glue"}, ["out"], "log"), None),
    ):
        assert estimates.by_config(TASKS, job) == seconds


@pytest.mark.slow
def test_a_dry_run_ends_with_what_is_used_and_remains(done):
    command = ("-n", "--configfile", "small.yaml", "--", TABLE)
    manifest = {"files": {"weights": {"bytes": 370_000_000, "sha256": ""}}}
    for path, content in (
        ("results/glue/cola/hra/r8/seed0/train.json", RECORD),
        ("resources/models/deberta-v3-base.manifest.json", manifest),
    ):
        when = (done.folder / path).stat().st_mtime
        (done.folder / path).write_text(json.dumps(content))
        os.utime(done.folder / path, (when, when))
    done.change("small.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    done.change("small.yaml", "gpu: 0", "gpu: 1")
    output = done.snakemake(*command)
    assert "table_glue: 42 jobs (27 done), including 12 training runs (8 done)" in output
    assert re.search(
        r"  hours:    4(\.\d+)? GPU-hours used, about \S+ GPU-hours remaining \(measured by finished jobs\)\n",
        output,
    )
    assert "  download: 0.0553 GB (cola 0.0003, mnli 0.055); 0.37 GB already downloaded\n" in output
