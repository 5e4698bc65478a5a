"""The plan of the benchmark at its real size, and the benchmark from the data to the table in the demo's size."""

import json

import pytest

from support import ROOT, table_rows

STUDY = ROOT / "studies/peft_rlmath"


@pytest.mark.slow
def test_the_plan_has_jobs_hours_and_licences(project, planned):
    parts = ["7 training runs", "licence:  qwen3.5-4b: Apache-2.0", "qwen3.5-4b 9.4"]
    planned(project, STUDY, "table_math", parts)


@pytest.mark.full
def test_the_benchmark_of_rewards_runs_in_the_demo_s_size(project):
    project.link_library()
    (project.folder / "short.yaml").write_text("presets: {math: {peft-rlmath: {all: {max_steps: 3}}}}")
    configs = (f"{STUDY}/config.yaml", f"{STUDY}/demo.yaml", "short.yaml")
    project.snakemake("--cores", "2", "--configfile", *configs, "--", "table_math")
    results = project.folder / "demo/peft_rlmath/results"
    base, *trained = table_rows(results / "table_math.csv")
    assert [row["run"] for row in trained] == ["hra/r8", "lora/r8"] and float(base["Word problems"]) > 50
    for row in trained:
        assert not row["missing"] and float(row["Word problems"]) > 50 and float(row["Memory (GB)"]) > 0
    record = json.loads((results / "math/word-problems-rl/hra/r8/seed42/train.json").read_text())
    assert record["steps"] == 3 and record["score"] == "reward" and record["hyperparameters"]["reward"] == "strict"
    assert max(entry["metrics"]["reward"] for entry in record["curve"]) > 0
