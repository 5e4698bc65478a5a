"""The plan of the benchmark at its real size, and the benchmark from the data to the table in the demo's size."""

import json

import pytest

from support import ROOT, table_rows

STUDY = ROOT / "studies/peft_metamathqa"
SHORT = """
presets: {math: {peft-benchmark: {all: {max_steps: 12}}}}
datasets: {math: {word-problems-peft-test: {take: {test: 20}}}}
"""


@pytest.mark.slow
def test_the_plan_has_jobs_hours_and_licences(project, planned):
    parts = [
        "29 training runs",
        "licence:  llama-3.2-3b: Llama 3.2 Community License",
        "meta-llama/Llama-3.2-3B: no access: gated; there is no token on this machine.",
    ]
    planned(project, STUDY, "table_math", parts)


@pytest.mark.full
def test_peft_s_benchmark_runs_in_the_demo_s_size(project):
    project.link_library()
    (project.folder / "short.yaml").write_text(SHORT)
    configs = (f"{STUDY}/config.yaml", f"{STUDY}/demo.yaml", "short.yaml")
    project.snakemake("--cores", "2", "--configfile", *configs, "--", "table_math")
    results = project.folder / "demo/peft_metamathqa/results"
    table = {row["run"]: row for row in table_rows(results / "table_math.csv")}
    assert table.keys() == {"base/pretrained", "hra/r8", "hra/r8-tuned", "lora/r8"}
    base, *trained = (table[run] for run in table)
    assert base["Time (min)"] == base["Memory (GB)"] == ""
    for row in trained:
        assert not row["missing"] and float(row["Memory (GB)"]) > 0
    records = {path.parts[-4:-2]: json.loads(path.read_text()) for path in results.glob("math/*/*/*/seed0/train.json")}
    assert {run: record["steps"] for run, record in records.items()} == {
        ("base", "pretrained"): 0, ("hra", "r8"): 12, ("hra", "r8-tuned"): 12, ("lora", "r8"): 12,
    }  # fmt: skip
    assert records["hra", "r8-tuned"]["hyperparameters"]["learning_rate"] in (3e-3, 1e-2)
    assert records["hra", "r8"]["hyperparameters"]["learning_rate"] == 1e-3
    assert "Tuned: learning_rate, in 2 trials" in (results / "table_math.md").read_text()
