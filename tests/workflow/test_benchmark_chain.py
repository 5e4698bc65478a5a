"""Others' benchmarks: the plan of each at its real size, and each from the data to the table in the demo's size."""

import json
import re

import pytest

from support import ROOT
from test_chain import rows

BENCHMARK = "config/benchmarks/peft_metamathqa.yaml"
IMAGE = "config/benchmarks/peft_image.yaml"
REWARDED = "config/benchmarks/peft_rlmath.yaml"
SHORT = """
presets: {math: {peft-benchmark: {all: {max_steps: 12}}}}
datasets: {math: {word-problems-peft-test: {take: {test: 20}}}}
"""


PLANS = [
    (BENCHMARK, "table_math", [
        "29 training runs", "licence:  llama-3.2-3b: Llama 3.2 Community License",
        "trials:   math: 4 for each of 2 runs",
        "meta-llama/Llama-3.2-3B: gated, and there is no token on this machine. Accept", "answers:  transformers",
    ]),
    (REWARDED, "table_math", [
        "7 training runs", "licence:  qwen3.5-4b: Apache-2.0", "qwen3.5-4b 9.4", "answers:  transformers",
    ]),
    (IMAGE, "table_subject", [
        "4 training runs", "licence:  flux2-klein-base-4b, dinov2-base: Apache-2.0",
        "licence:  cat-plushy: not stated", "flux2-klein-base-4b 16",
    ]),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("config", "table", "parts"), PLANS)
def test_the_plan_has_jobs_hours_licences_disk_and_the_missing_token(fresh, config, table, parts):
    output = fresh.snakemake("-n", "--cores", "1", "--configfile", config, "--", table)
    plan = output[output.index(f"{table}: ") :]
    _, _, documented = (ROOT / "docs/benchmarks.md").read_text().partition(f"make plan CONFIG={config}")
    jobs, runs = re.search(r"The plan has (\d+) jobs, of which (\d+) are training runs", documented).groups()
    assert plan.startswith(f"{table}: {jobs} jobs (0 done), including {runs} training runs"), plan
    for part in ("GPU-hours", "disk:", *parts):
        assert part in plan, (part, plan)


@pytest.mark.full
def test_peft_s_benchmark_runs_in_the_demo_s_size(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "short.yaml").write_text(SHORT)
    configs = (BENCHMARK, "config/benchmarks/peft_metamathqa_demo.yaml", "short.yaml")
    project.snakemake("--cores", "2", "--configfile", *configs, "--", "table_math")
    results = project.folder / "demo/peft_metamathqa/results"
    table = {row["run"]: row for row in rows(results / "table_math.csv")}
    assert table.keys() == {"base/pretrained", "hra/r8", "hra/r8-tuned", "lora/r8"}
    base, *trained = (table[run] for run in table)
    assert base["Forgetting"] == "0.000" and base["Time (min)"] == base["Memory (GB)"] == ""
    for row in trained:
        assert not row["missing"] and float(row["Memory (GB)"]) > 0 and float(row["Forgetting"]) != 0
    records = {path.parts[-4:-2]: json.loads(path.read_text()) for path in results.glob("math/*/*/*/seed0/train.json")}
    assert {run: record["steps"] for run, record in records.items()} == {
        ("base", "pretrained"): 0, ("hra", "r8"): 12, ("hra", "r8-tuned"): 12, ("lora", "r8"): 12,
    }  # fmt: skip
    assert records["hra", "r8-tuned"]["hyperparameters"]["learning_rate"] in (3e-3, 1e-2)
    assert records["hra", "r8"]["hyperparameters"]["learning_rate"] == 1e-3
    assert "Tuned: learning_rate, in 2 trials" in (results / "table_math.md").read_text()


@pytest.mark.full
def test_the_image_benchmark_runs_in_the_demo_s_size(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "short.yaml").write_text(
        "presets: {subject: {peft-image: {all: {max_steps: 4, epoch_steps: 4}}}}"
    )
    configs = (IMAGE, "config/benchmarks/peft_image_demo.yaml", "short.yaml")
    project.snakemake("--cores", "2", "--configfile", *configs, "--", "table_subject")
    results = project.folder / "demo/peft_image/results"
    table = rows(results / "table_subject.csv")
    assert [(row["run"], row["selection"]) for row in table] == [
        (f"{kind}/flux2-klein-{variant}", "last")
        for kind, variant in (("hra", "default"), ("lora", "default"), ("oft", "default"), ("dora", "rank64"))
    ]
    for row in table:
        assert not row["missing"] and -1 <= float(row["DINOv2 similarity"]) <= 1 and float(row["Drift"]) >= 0
        assert float(row["Training (s)"]) > 0 and float(row["Peak memory (GB)"]) > 0
    record = json.loads((results / "subject/captioned-ball/hra/flux2-klein-default/seed0/train.json").read_text())
    prompts = record["prompts"]
    assert record["steps"] == 4 and prompts["instance"][1] is None and prompts["text_layers"] == [1, 2, 3]
    compared = results / "subject/captioned-ball/hra/flux2-klein-default/seed0/prompts/metrics.json"
    assert json.loads(compared.read_text())["n_items"] == 2 * 3


@pytest.mark.full
def test_the_benchmark_of_rewards_runs_in_the_demo_s_size(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "short.yaml").write_text("presets: {math: {peft-rlmath: {all: {max_steps: 3}}}}")
    configs = (REWARDED, "config/benchmarks/peft_rlmath_demo.yaml", "short.yaml")
    project.snakemake("--cores", "2", "--configfile", *configs, "--", "table_math")
    results = project.folder / "demo/peft_rlmath/results"
    base, *trained = rows(results / "table_math.csv")
    assert [row["run"] for row in trained] == ["hra/r8", "lora/r8"] and float(base["Word problems"]) > 50
    for row in trained:
        assert not row["missing"] and float(row["Word problems"]) > 50 and float(row["Memory (GB)"]) > 0
    record = json.loads((results / "math/word-problems-rl/hra/r8/seed42/train.json").read_text())
    assert record["steps"] == 3 and record["score"] == "reward" and record["hyperparameters"]["reward"] == "strict"
    assert max(entry["metrics"]["reward"] for entry in record["curve"]) > 0
