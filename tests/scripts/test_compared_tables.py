"""Compared runs in compare_{task}.csv and in the table: pairs, bold values, runs that predict one class."""

from pathlib import Path

import numpy as np
import pytest

import collect_runs
import compare
import factories
import table
from hra_workflow.core import files, predictions
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics

N = 300


LEVELS = {"hra/r8": 0.92, "lora/r8": 0.92, "head/all": 0.6}


def make(folder: Path, seeds: int = 3, levels: dict = LEVELS, first: int = 0, classes: int = 2) -> tuple[list, dict]:
    """Write the files of three runs, whose metrics follow from their predictions; run compare.py.

    first: number of seeds of the first run, if it has others. classes: of the items; 1: all have the second.
    """
    counts = dict.fromkeys(levels, seeds) | ({next(iter(levels)): first} if first else {})
    expected = [factories.entry(folder, "rte", run, seed) for run in levels for seed in range(counts[run])]
    labels = np.random.default_rng(0).integers(2 - classes, 2, N)
    paths, evaluations = [], []
    for place, run in enumerate(expected):
        name = f"{run['method']}/{run['variant']}"
        rng = np.random.default_rng(place)
        level = levels[name]  # None: the second class for every item
        predicted = np.ones(N, int) if level is None else np.where(rng.random(N) < level, labels, 1 - labels)
        scores = np.eye(2)[predicted].tolist()
        lines = [{"item": i, "label": int(labels[i]), "last": scores[i], "best_on_dev": scores[i]} for i in range(N)]
        accuracy = float((predicted == labels).mean())
        paths.append(factories.write(folder, run, [accuracy], lines))
        path = Path(paths[-1][1][0]).with_name("predictions.jsonl.gz")
        evaluations.append(run | {"benchmark": "dev", "path": str(path)})
    collect_runs.main(factories.collect_job(folder, expected, paths))
    job = factories.compare_job(folder, expected, evaluations)
    compare.main(job)
    return expected, job


def test_every_pair_and_the_best_in_bold(tmp_path):
    expected, _ = make(tmp_path)
    found = run_statistics.read_csv(tmp_path / "compare_glue.csv")
    assert list(found.columns) == compare.COLUMNS
    pairs = [("hra/r8", "lora/r8"), ("hra/r8", "head/all"), ("lora/r8", "head/all")]
    of_rte = found[(found["column"] == "RTE") & (found["selection"] == "best_on_dev")]
    assert list(zip(of_rte["run_a"], of_rte["run_b"], strict=True)) == pairs
    assert set(found["selection"]) == {"best_on_dev", "last"} and set(of_rte["n_seeds"]) == {"3"}
    close, far = (of_rte.iloc[place] for place in (0, 1))
    assert 20 < float(far["low"]) < float(far["difference"]) < float(far["high"]) < 45 and float(far["p_holm"]) < 1e-6
    assert float(close["low"]) < 0 < float(close["high"]) and float(close["p_holm"]) > 0.05
    table.main(factories.table_job(tmp_path, expected))
    text = (tmp_path / "table_glue.md").read_text()
    first = text.split("### Differences")[0]
    lines = {line.split("|")[1].strip(): line for line in first.splitlines() if line.startswith("|")}
    assert "- Head alone: 58.67; LoRA r=8: 91.00 (" in first and ", p < 0.001, significant)." in first
    assert [name for name, line in lines.items() if "**" in line] == ["HRA r=8, λ=0", "LoRA r=8"]
    job = factories.table_job(tmp_path, expected)
    job["params"]["trained"].remove("hra/r8")  # as real images, the best by definition
    table.main(job)
    lines = [line for line in (tmp_path / "table_glue.md").read_text().splitlines() if "**9" in line]
    assert lines and all("LoRA" in line for line in lines)


@pytest.mark.parametrize(
    ("classes", "names", "is_named"),
    [(2, ["no", "yes"], True), (2, None, False), (1, ["no", "yes"], False)],
    ids=["two", "regression", "items of one"],
)
def test_a_run_that_predicts_one_class_is_named_below_the_table(tmp_path, monkeypatch, classes, names, is_named):
    monkeypatch.setitem(LEVELS, "lora/r8", None)
    expected, _ = make(tmp_path, classes=classes)
    job = factories.table_job(tmp_path, expected)
    job["params"]["settings"] = {"labels": {"rte": names}}
    table.main(job)
    notes = (tmp_path / "table_glue.md").read_text().partition("## Notes")[2]
    assert ("- **One class** for every item: LoRA r=8 on rte dev (yes, 3 of 3 seeds)." in notes) == is_named
    assert ("One class" in notes) == is_named


def test_two_seeds_give_intervals_but_no_p_and_no_bold(tmp_path):
    expected, _ = make(tmp_path, seeds=2)
    found = run_statistics.read_csv(tmp_path / "compare_glue.csv")
    assert set(found["p"]) | set(found["p_holm"]) == {""} and "" not in {*found["low"], *found["high"]}
    table.main(factories.table_job(tmp_path, expected))
    text = (tmp_path / "table_glue.md").read_text()
    assert "**9" not in text and "**Bold**" not in text
    assert "No value is bold in RTE, All" in text and "share at least 3 seeds, since fewer do not show" in text


def test_predictions_that_are_not_those_of_the_run_table_are_refused(tmp_path):
    _, job = make(tmp_path)
    table = Path(job["input"]["runs"])
    text = table.read_text()
    files.write_text(table, text.replace(",0.9", ",0.8"))
    with pytest.raises(JobError, match=r"expected accuracy = .* as in the run table, found"):
        compare.main(job)
    files.write_text(table, text)
    path = Path(job["params"]["evaluations"][0]["path"])
    lines = predictions.read(path)
    predictions.write(path, [lines[0] | {"label": 1 - lines[0]["label"]}, *lines[1:]])
    with pytest.raises(JobError, match=r"seed0/dev/predictions.jsonl.gz: expected the file that metrics.json in its"):
        compare.main(job)
