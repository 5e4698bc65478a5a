"""Tables 3 and 6 on hand-made results, and the published numbers of the mathematics task."""

import statistics
from pathlib import Path

import pandas as pd
import pytest

import collect_runs
import table_compute
import table_retention
from hra_workflow.core import records
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "config" / "published"
PAPER = REPOSITORY.parent / "shared" / "paper" / "tables"
needs_paper = pytest.mark.skipif(not PAPER.exists(), reason=f"{PAPER} is not on this machine")
NAMES = ["ARC", "HellaSwag", "MMLU", "Winogrande", "HumanEval"]
BASE = "base/pretrained"
LABELS = {BASE: "LLaMA2-7B", "lora/r32": "LoRA, r=32", "hra/r32": "HRA, r=32, λ=0"}


def line(made: pd.DataFrame, run: str) -> pd.Series:
    (row,) = [row for _, row in made.iterrows() if row["run"] == run]
    return row


# Table 3


def write_metrics(folder: Path, run: str, seed: int, values: dict[str, float], limit=None, **changes) -> str:
    """Build a result of evaluate_harness.py; values are in percent here."""
    path = folder / run / f"seed{seed}/retention.json"
    method, variant = run.split("/")
    entry = {"stderr": 0.01, "n_items": 100, "task": "t", "task_version": 1.0, "shots": 5, "metric": "acc,none"}
    entries = {name: entry | {"value": value / 100} | changes for name, value in values.items()}
    identity = {"task": "math", "dataset": "d", "method": method, "variant": variant, "seed": seed}
    record = records.sealed(identity | {"fingerprint": {"seed": seed, "inputs": {}}})
    records.write(path.with_name("train.json"), record)
    own = {"limit": limit, "lm_eval": "0.4.13", "record_sha256": record[records.SEAL]}
    records.write(path, identity | {"benchmarks": entries} | own)
    return str(path)


def retention(
    folder: Path, metrics: list[str], seeds=(0, 1), published=PUBLISHED / "retention.csv", base=BASE, left_out=()
):
    job = {
        "rule": "table_retention",
        "input": {"metrics": metrics} | ({"published": str(published)} if published else {}),
        "output": {"csv": str(folder / "table.csv"), "markdown": str(folder / "table.md")},
        "params": {
            "benchmarks": NAMES,
            "left_out": list(left_out),
            "base": base,
            "rows": [{"run": run, "label": label} for run, label in LABELS.items()],
            "seeds": seeds,
            "expected": {path: {"asked": {"seed": int(Path(path).parent.name[4:])}, "inputs": {}} for path in metrics},
        },
    }
    table_retention.main(job)
    return run_statistics.read_csv(folder / "table.csv")


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


def test_the_paper_is_where_it_was_not_run_here(tmp_path):
    row = line(retention(tmp_path, [write_metrics(tmp_path, BASE, 0, dict.fromkeys(NAMES, 50))]), "lora/r32")
    assert (row["ARC"], row["n_seeds"], row["ARC_published"], row["ARC_difference"]) == ("", "0", "48.81", "")
    rows = [text for text in (tmp_path / "table.md").read_text().splitlines() if text.startswith("| LoRA, r=32")]
    assert len(rows) == 1 and rows[0].count("–") == 6


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


def test_a_seed_without_all_benchmarks_has_no_impact(tmp_path):
    run, half = "lora/r32", dict.fromkeys(NAMES[:3], 45)
    metrics = [write_metrics(tmp_path, BASE, 0, dict.fromkeys(NAMES, 50)), write_metrics(tmp_path, run, 0, half)]
    metrics += [write_metrics(tmp_path, run, 1, dict.fromkeys(NAMES, 40))]
    row = line(retention(tmp_path, metrics), run)
    assert (row["ARC"], row["ARC_n"], row["HumanEval"], row["HumanEval_n"]) == ("42.50", "2", "40.00", "1")
    assert (row["Overall impact"], row["Overall impact_n"]) == ("-20.00", "1")
    assert "40.00 (1/2)" in (tmp_path / "table.md").read_text()


def test_a_base_that_gets_nothing_right_gives_no_impact(tmp_path):
    base = dict.fromkeys(NAMES, 50) | {"HumanEval": 0}
    metrics = [write_metrics(tmp_path, run, 0, base) for run in (BASE, "lora/r32")]
    assert line(retention(tmp_path, metrics), "lora/r32")["Overall impact"] == ""


def test_nothing_there_and_nothing_published(tmp_path):
    made = retention(tmp_path, [], published=None)
    assert made["run"].tolist() == list(LABELS) and (made[NAMES] == "").all(axis=None)
    assert "the paper does not specify" not in (tmp_path / "table.md").read_text().lower()


def test_unlike_protocols_in_one_column_are_noted(tmp_path):
    metrics = [write_metrics(tmp_path, BASE, 0, {"ARC": 50, "MMLU": 50})]
    metrics += [write_metrics(tmp_path, "lora/r32", 0, {"ARC": 50}, shots=25, limit=10)]
    retention(tmp_path, metrics)
    text = (tmp_path / "table.md").read_text()
    assert "- ARC: **mixed" in text and "25 shots, acc,none, lm-eval 0.4.13, only 10 items of each task" in text
    assert "- MMLU: t (version" in text and "- HumanEval: no result yet." in text


def test_double_and_foreign_results_and_a_base_outside_the_table_are_refused(tmp_path):
    path = write_metrics(tmp_path, BASE, 0, {"ARC": 50})
    with pytest.raises(JobError, match="base/pretrained seed 0 has two files"):
        retention(tmp_path, [path, path])
    with pytest.raises(JobError, match="boft/m2b8 is not a row of this table"):
        retention(tmp_path, [write_metrics(tmp_path, "boft/m2b8", 0, {"ARC": 50})])
    with pytest.raises(JobError, match="The base full/all is not a row"):
        retention(tmp_path, [path], base="full/all")


def test_the_formula_gives_the_papers_impact_from_its_own_cells():
    cells = run_statistics.read_csv(PUBLISHED / "retention.csv")
    values = cells.assign(value=pd.to_numeric(cells["value"])).pivot(index="run", columns="column", values="value")
    impact = table_retention.impact(values[NAMES], values.loc[BASE, NAMES])
    assert impact["lora/r32"] == pytest.approx(-6.03, abs=0.005)
    assert impact["hra/r32"] == pytest.approx(-1.785, abs=0.0005)
    assert (impact - values["Overall impact"]).drop(BASE).abs().max() < 0.0101  # as printed


# Table 6


def write_runs(folder: Path, trainings: list[dict]) -> Path:
    """Write a run table with two metrics per training run."""
    common = {"task": "math", "dataset": "d", "benchmark": "test", "selection": "last", "status": "ok", "seed": 0}
    common |= {
        "trainable_parameters": 8388608,
        "total_parameters": 6746804224,
        "device": "NVIDIA H100",
        "micro_batch": 8,
    }
    rows = [common | made | {"metric": metric} for made in trainings for metric in ("official", "strict")]
    path = folder / "runs_math.csv"
    pd.DataFrame(rows, columns=collect_runs.COLUMNS).to_csv(path, index=False)
    return path


def training(run: str, seed: int, hours: float, gigabytes: float, processes: int = 8, **more) -> dict:
    method, variant = run.split("/")
    row = {"method": method, "variant": variant, "seed": seed, "processes": processes, "seconds": hours * 3600}
    return row | {"peak_memory_bytes": round(gigabytes * 1e9)} | more


def compute(folder: Path, trainings: list[dict], published=PUBLISHED / "compute.csv") -> pd.DataFrame:
    rows = [{"run": run, "label": run} for run in ("lora/r16", "oft/b16", "hra/r32")]
    job = {
        "rule": "table_compute",
        "input": {"runs": str(write_runs(folder, trainings))} | ({"published": str(published)} if published else {}),
        "output": {"csv": str(folder / "table.csv"), "markdown": str(folder / "table.md")},
        "params": {"rows": rows},
    }
    table_compute.main(job)
    return run_statistics.read_csv(folder / "table.csv")


def test_costs_in_the_papers_units(tmp_path):
    made = compute(tmp_path, [training("hra/r32", 0, 2, 30), training("hra/r32", 1, 4, 31)])
    row = line(made, "hra/r32")
    wanted = {
        "n": "2/2", "device": "NVIDIA H100", "devices": "8", "micro_batch": "8",
        "Parameters": "8388608", "Parameters (%)": "0.124", "Parameters (%)_published": "0.12",
        "Training time (h)": "3.00", "Training time (h)_std": "1.41", "Training time (h)_published": "30",
        "Device hours": "24.00", "Device hours_published": "",
        "Peak memory per device (GB)": "30.5", "Peak memory (GB)": "244.0", "Peak memory (GB)_published": "287",
        "hardware_published": "8x RTX A6000",
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    text = (tmp_path / "table.md").read_text()
    for part in ("3.00 ± 1.41", "8x NVIDIA H100", "8x RTX A6000", "does not specify how time and memory were"):
        assert part in text, part
    assert "Mixed" not in text and "Unequal" not in text


def test_unequal_micro_batches_are_stated_and_noted(tmp_path):
    trainings = [training("hra/r32", 0, 2, 30), training("oft/b16", 0, 2, 60, micro_batch=16)]
    trainings += [training("oft/b16", 0, 2, 60, micro_batch=4, dataset="large")]
    made = compute(tmp_path, trainings)
    assert line(made, "hra/r32")["micro_batch"] == "8"
    assert made[made["run"] == "oft/b16"]["micro_batch"].tolist() == ["16", "4"]
    text = (tmp_path / "table.md").read_text()
    assert "| Micro-batch |" in " ".join(text.split()).replace("  ", " ")
    assert text.count("Unequal") == 1 and "**Unequal micro-batches** on d: 16, 8. Time and memory are not" in text


def test_gradient_checkpointing_in_some_rows_is_noted(tmp_path):
    trainings = [training("hra/r32", 0, 2, 30, gradient_checkpointing="false")]
    trainings += [training("oft/b16", seed, 3, 20, gradient_checkpointing="true") for seed in (0, 1)]
    made = compute(tmp_path, trainings)
    assert made.set_index("run").loc[["hra/r32", "oft/b16"], "gradient_checkpointing"].tolist() == ["false", "true"]
    assert "**Gradient checkpointing** on d only in oft/b16: less memory" in (tmp_path / "table.md").read_text()
    compute(tmp_path, trainings[1:])
    assert "Gradient checkpointing" not in (tmp_path / "table.md").read_text()


def test_times_on_a_shared_gpu_are_refused(tmp_path):
    runs = [training("hra/r32", 0, 2, 30, runs_per_gpu=1), training("hra/r32", 1, 4, 31, runs_per_gpu=4)]
    with pytest.raises(JobError, match=r"hra/r32/1 shared its GPU with other runs.*Delete its train\.json"):
        compute(tmp_path, runs)


def test_a_failed_training_counts_as_one_that_is_not_there(tmp_path):
    lost = {"method": "oft", "variant": "b16", "seed": 1, "status": "failed", "device": ""}
    made = compute(tmp_path, [training("oft/b16", 0, 2, 30), lost], published=None)
    assert (line(made, "oft/b16")["n"], line(made, "oft/b16")["Training time (h)"]) == ("1/2", "2.00")
    assert (line(made, "hra/r32")["n"], line(made, "hra/r32")["Parameters"]) == ("0/0", "")
    assert made["run"].tolist() == ["lora/r16", "oft/b16", "hra/r32"]
    assert "The paper" not in (tmp_path / "table.md").read_text()


def test_data_sets_are_apart_and_mixed_devices_are_noted(tmp_path):
    trainings = [training("hra/r32", 0, 2, 30), training("hra/r32", 0, 20, 30, dataset="large")]
    trainings += [training("hra/r32", 1, 3, 60, processes=4, device="NVIDIA A100", dataset="large")]
    made = compute(tmp_path, trainings)
    ours = made[made["run"] == "hra/r32"]
    assert ours[["dataset", "Training time (h)"]].to_numpy().tolist() == [["d", "2.00"], ["large", "11.50"]]
    assert ours["Device hours"].tolist() == ["16.00", f"{(20 * 8 + 3 * 4) / 2:.2f}"]
    assert "**Mixed devices** within one row: hra/r32." in (tmp_path / "table.md").read_text()


# The published numbers


def published(name: str, *columns: str) -> list[tuple]:
    return list(run_statistics.read_csv(PUBLISHED / f"{name}.csv")[list(columns)].itertuples(index=False, name=None))


def paper(name: str) -> list[dict]:
    return run_statistics.read_csv(PAPER / f"{name}.csv").to_dict("records")


@needs_paper
def test_published_retention_equals_the_paper_cell_by_cell():
    columns = dict(zip(NAMES, NAMES, strict=True)) | {"Overall impact": "overall_impact_pct"}
    wanted = [
        (str(number), column, row[key], row["source"])
        for number, row in enumerate(paper("table3_retention"), 1)
        for column, key in columns.items()
        if row[key]
    ]
    assert published("retention", "row", "column", "value", "source") == wanted


@needs_paper
def test_published_compute_equals_the_paper_cell_by_cell():
    columns = {"Parameters (%)": "param_ratio_pct", "Training time (h)": "training_time_h"}
    columns["Peak memory (GB)"] = "peak_memory_GB"
    wanted = [
        (str(number), row["method"], column, row[key], row["hardware"], row["source"])
        for number, row in enumerate(paper("table6_compute"), 1)
        for column, key in columns.items()
    ]
    assert published("compute", "row", "method", "column", "value", "hardware", "source") == wanted


@needs_paper
def test_published_math_unites_figure_1c_and_table_7():
    figure, table = paper("fig1c_math"), paper("table7_math_lambda")
    cells = {}
    for row in [*figure, *table]:
        for column in ("GSM8K", "MATH"):
            key = row["method"], row["setting"], column
            assert cells.setdefault(key, row[column]) == row[column]  # the two agree
    assert published("math", "method", "setting", "column", "value") == [(*key, value) for key, value in cells.items()]
    for method, setting, source in published("math", "method", "setting", "source"):
        in_figure, in_table = (
            any((row["method"], row["setting"]) == (method, setting) for row in rows) for rows in (figure, table)
        )
        assert ("Figure 1c" in source, "Table 7" in source) == (in_figure, in_table)


@needs_paper
def test_published_math_parameters_are_the_printed_ratios():
    ratios = {(row["method"], row["setting"]): row["param_ratio_pct"] for row in paper("fig1c_math")}
    ratios |= {(row["method"], row["setting"]): row["param_ratio_pct"] for row in paper("table7_math_lambda")}
    for method, setting, millions in published("math", "method", "setting", "params_M"):
        assert f"{100 * float(millions) / 6738:.2f}" == (ratios[method, setting] or "0.00")


def test_published_hra_parameters_are_exact():
    """Vectors of 4096 for q_proj and v_proj of 32 layers."""
    for method, setting, millions in published("math", "method", "setting", "params_M"):
        if method == "HRA":
            r = int(setting.split(",")[0].removeprefix("r="))
            assert millions == f"{64 * 4096 * r / 1e6:.2f}"


@needs_paper
def test_published_lambda_equals_the_paper_cell_by_cell():
    wanted = [
        (row["bar_index"], row["lambda_inferred_from_axis_order"], column, row[f"{column}_pct"], row["mapping_note"])
        for row in paper("fig4_math_lambda_r8")
        for column in ("GSM8K", "MATH")
    ]
    assert published("math_lambda", "bar", "lambda", "column", "value", "mapping_note") == wanted


def test_published_files_have_the_columns_that_the_scripts_read():
    for name in ("math", "retention", "compute"):
        columns = run_statistics.read_csv(PUBLISHED / f"{name}.csv").columns.drop("hardware", errors="ignore")
        assert columns.tolist() == run_statistics.PUBLISHED
    sweep = run_statistics.read_csv(PUBLISHED / "math_lambda.csv")
    assert sweep.columns.tolist() == (
        ["bar", "lambda", "run", "column", "metric", "value", "mapping_note", "conflict", "source"]
    )
    assert sweep["run"].tolist() == ("hra/r8-lambda" + sweep["lambda"]).tolist()
