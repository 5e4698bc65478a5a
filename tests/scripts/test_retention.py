"""Table 3 on hand-made results."""

import statistics
from pathlib import Path

import pandas as pd
import pytest

import table_retention
from hra_workflow.core import records
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics
from published import NAMES, PUBLISHED, line

BASE = "base/pretrained"
MADE_FROM = {"result": "the evaluation", "inputs": {}, "settings": {"limit": None}, "before": {}}
LABELS = {BASE: "LLaMA2-7B", "lora/r32": "LoRA, r=32", "hra/r32": "HRA, r=32, λ=0"}


def write_metrics(folder: Path, run: str, seed: int, values: dict[str, float]) -> str:
    """Build a result of evaluate_harness.py; values are in percent here."""
    path = folder / run / f"seed{seed}/retention.json"
    method, variant = run.split("/")
    entry = {"stderr": 0.01, "n_items": 100, "task": "t", "task_version": 1.0, "shots": 5, "metric": "acc,none"}
    entries = {name: entry | {"value": value / 100} for name, value in values.items()}
    identity = {"task": "math", "dataset": "d", "method": method, "variant": variant, "seed": seed}
    record = records.with_digest(identity | {"made_from": {"settings": {"seed": seed}, "inputs": {}}})
    records.write(path.with_name("train.json"), record)
    made_from = MADE_FROM | {"inputs": {str(path.with_name("train.json")): record[records.SEAL]}}
    own = {"benchmarks": entries, "limit": None, "lm_eval": "0.4.13", "made_from": made_from}
    records.write(path, identity | own)
    return str(path)


def retention(folder: Path, metrics: list[str], seeds=(0, 1), left_out=()) -> pd.DataFrame:
    job = {
        "rule": "table_retention",
        "input": {"metrics": metrics, "published": str(PUBLISHED / "retention.csv")},
        "output": {"csv": str(folder / "table.csv"), "markdown": str(folder / "table.md")},
        "params": {
            "benchmarks": NAMES,
            "left_out": list(left_out),
            "base": BASE,
            "rows": [{"run": run, "label": label} for run, label in LABELS.items()],
            "seeds": seeds,
            "expected": {path: {"settings": {"seed": int(Path(path).parent.name[4:])}} for path in metrics},
            "evaluations": {path: {"settings": MADE_FROM["settings"]} for path in metrics},
        },
    }
    table_retention.main(job)
    return run_statistics.read_csv(folder / "table.csv")


def test_a_result_of_other_settings_is_refused(tmp_path, monkeypatch):
    path = write_metrics(tmp_path, BASE, 0, dict.fromkeys(NAMES, 50))
    monkeypatch.setitem(MADE_FROM, "settings", {"limit": 5})
    with pytest.raises(JobError, match=r"retention.json: expected the run .*limit null, now 5\. Delete it"):
        retention(tmp_path, [path])


def test_means_differences_and_the_impact_per_seed(tmp_path):
    base = dict(zip(NAMES, [50, 60, 40, 80, 10], strict=True))
    tuned = [[45, 60, 40, 80, 10], [50, 54, 44, 80, 8]]  # one tenth of ARC; −10, +10, −20 % of three others
    metrics = [write_metrics(tmp_path, BASE, 0, base)]
    metrics += [
        write_metrics(tmp_path, "hra/r32", seed, dict(zip(NAMES, values, strict=True)))
        for seed, values in enumerate(tuned)
    ]
    made = retention(tmp_path, metrics)
    row = line(made, "hra/r32")
    assert (row["ARC"], row["ARC_std"], row["ARC_n"]) == ("47.50", f"{statistics.stdev([45, 50]):.2f}", "2")
    assert (row["ARC_published"], row["ARC_difference"]) == ("49.57", "-2.07")
    impacts = [-10 / 5, (-10 + 10 - 20) / 5]
    assert row["Overall impact"] == f"{statistics.mean(impacts):.2f}" == "-3.00"
    assert row["Overall impact_std"] == f"{statistics.stdev(impacts):.2f}"
    assert (row["Overall impact_published"], row["Overall impact_difference"]) == ("-1.79", "-1.21")
    assert line(made, BASE)["Overall impact"] == ""
    text = (tmp_path / "table.md").read_text()
    for part in ("47.50 ± 3.54", "49.57 (−2.07)", "-3.00 ± 1.41", "-1.79 (−1.21)", "ARC: t (version 1.0), 5 shots"):
        assert part in text, part


def test_a_benchmark_that_may_not_run_is_marked_and_not_missed(tmp_path):
    """Results of HumanEval from before it was left out are not shown either."""
    metrics = [write_metrics(tmp_path, BASE, 0, dict.fromkeys(NAMES, 50))]
    metrics += [write_metrics(tmp_path, "lora/r32", 0, dict.fromkeys(NAMES[:4], 40))]
    row = line(retention(tmp_path, metrics, seeds=(0,), left_out=["HumanEval"]), "lora/r32")
    assert (row["HumanEval"], row["HumanEval_n"], row["HumanEval_published"]) == ("", "", "11.59")
    assert (row["Overall impact"], row["Overall impact_published"]) == ("-20.00", "-6.03")
    assert row["Overall impact_difference"] == "" and row["ARC_difference"] != ""
    text = (tmp_path / "table.md").read_text()
    assert text.count(" not run |") == len(LABELS) and "50.00" in text
    assert "`not run`: HumanEval executes programs" in text and "- HumanEval:" not in text


def test_the_formula_gives_the_papers_impact_from_its_own_cells():
    cells = run_statistics.read_csv(PUBLISHED / "retention.csv")
    values = cells.assign(value=pd.to_numeric(cells["value"])).pivot(index="run", columns="column", values="value")
    impact = table_retention.impact(values[NAMES], values.loc[BASE, NAMES])
    assert impact["lora/r32"] == pytest.approx(-6.03, abs=0.005)
    assert impact["hra/r32"] == pytest.approx(-1.785, abs=0.0005)
    assert (impact - values["Overall impact"]).drop(BASE).abs().max() < 0.0101  # as printed
