"""Scores without the rows that are also in the training data, beside those on all rows: tables, report and cards."""

from io import StringIO

import numpy as np
import pytest
from huggingface_hub import ModelCard
from pandas import read_parquet
from rich.console import Console

import collect_runs
import factories
from glue_tables import grid
from hra_workflow import tasks
from hra_workflow.commands import print_table
from hra_workflow.core import files, manifests, predictions, records
from hra_workflow.data import leaks
from hra_workflow.report import run_statistics, unseen
from hra_workflow.tasks.glue import metrics
from hra_workflow.tasks.math import answers
from support import method
from table import main as make_table
from test_export_adapter import exported

ITEMS = [1, 3, 4]  # of 12 are also in the training data, and answered correctly
LABELS = np.array([0, 1] * 6)
ANSWERS = np.array([0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1])  # 9 of 12 are correct, 6 of the 9 unseen ones
NEW = [item for item in range(12) if item not in ITEMS]
WARNING = "3 of 12 rows of dev also occur in train"


def leaky(folder, split: str = "dev", rows: int = 12) -> dict:
    """Write the card of a dataset with a leak; return its benchmark."""
    path = str(folder / "sst2.manifest.json")
    counts = {"rows": rows, "in_train": len(ITEMS), "in_train_items": ITEMS}
    card = {"splits": {"train": {"rows": 50}, split: counts}, "warnings": [WARNING], "own": {}}
    files.write_json(path.replace(".manifest.", ".card."), card)
    return {"dataset": "sst2", "benchmark": "dev", "train": path, "reported": path, "split": split}


def answered(answers: np.ndarray = ANSWERS) -> list[dict]:
    scores = [{name: [1.0 - answer, float(answer)] for name in ("last", "best_on_dev")} for answer in answers]
    return [{"item": item, "label": int(LABELS[item])} | one for item, one in enumerate(scores)]


def table_of(folder, benchmark: dict, answers: tuple = (ANSWERS,) * 3) -> tuple[dict, str]:
    """Make the table of three seeds; return its row of the best checkpoint, and its Markdown."""
    expected = grid(folder, datasets=("sst2",))
    made = zip(expected, map(answered, answers), strict=True)
    paths = [factories.write(folder, run, [0.1, 0.75], lines) for run, lines in made]
    collect_runs.main(factories.collect_job(folder, expected, paths))
    job = factories.table_job(folder, expected)
    job["params"] |= {"benchmarks": [benchmark], "data": [benchmark["train"]]}
    make_table(job)
    return run_statistics.read_csv(folder / "table_glue.csv").iloc[0], (folder / "table_glue.md").read_text()


def test_a_table_has_the_score_without_the_rows_that_are_trained_on(tmp_path):
    row, text = table_of(tmp_path, leaky(tmp_path))
    assert (row["SST-2"], row["SST-2_unseen"], row["SST-2_unseen_std"]) == ("75.00", "66.67", "0.00")
    assert row["All (acc)_unseen"] == "66.67"
    head, cells = ([part.strip() for part in text.splitlines() if "|" in part][index].split("|") for index in (0, 2))
    place = [cell.strip() for cell in head].index("SST-2, unseen ↑")
    assert [cell.strip() for cell in cells][place - 1 : place + 1] == ["75.00 ± 0.00", "66.67 ± 0.00"]
    first = text.partition("## Notes\n\n")[2].splitlines()[0]
    assert first.startswith("- **Rows that are trained on** are in SST-2: 3 of 12 rows; ")
    console = Console(width=160, file=(shown := StringIO()))
    print_table.show(tmp_path / "table_glue.csv", None, console)
    assert all(part in shown.getvalue() for part in ("unseen ↑", "66.67 ±0.00", "Unseen: without the rows"))


def test_every_seed_is_scored_by_its_own_predictions(tmp_path):
    """Test three seeds that answer 6, 9 and 3 of the 9 unseen rows correctly."""
    flipped = np.where(np.isin(np.arange(12), ITEMS), ANSWERS, 1 - ANSWERS)
    row, _ = table_of(tmp_path, leaky(tmp_path), (ANSWERS, LABELS, flipped))
    assert (row["SST-2_unseen"], row["SST-2_unseen_std"]) == ("66.67", "33.33")


def test_a_benchmark_on_the_training_split_is_a_leak_of_all_rows(tmp_path):
    row, text = table_of(tmp_path, leaky(tmp_path, split="train", rows=12))
    assert (row["SST-2"], row["SST-2_unseen"]) == ("75.00", "") and "SST-2: 12 of 12 rows; " in text
    assert "sst2: the benchmark dev is the split on which models are trained, so its scores" in text


def test_a_card_of_other_rows_gives_no_score(tmp_path):
    row, text = table_of(tmp_path, leaky(tmp_path, rows=11))
    assert (row["SST-2"], row["SST-2_unseen"]) == ("75.00", "") and "Rows that are trained on" in text


def test_a_card_of_files_that_were_not_downloaded_names_no_items(tmp_path):
    benchmark = leaky(tmp_path)
    assert leaks.find_leak(benchmark).items == {*ITEMS}
    files.write_json(benchmark["train"], {"own": {"dev.csv": {"sha256": "a"}}})
    assert leaks.find_leak(benchmark).items is None and str(leaks.find_leak(benchmark)) == "3 of 12 rows"


def test_the_scores_are_those_of_the_metrics_code(tmp_path):
    leak, path = leaks.find_leak(leaky(tmp_path)), tmp_path / "metrics.json"
    right = LABELS == ANSWERS
    graded = [{"item": item, "strict": {"right": bool(one)}} for item, one in enumerate(right)]
    f1 = metrics.values_with_errors(["macro_f1"], LABELS[NEW], ANSWERS[NEW])["macro_f1"]
    expected = [("glue", "macro_f1", answered(), f1), ("math", "strict", graded, answers.accuracy([*right[NEW]]))]
    for task, metric, lines, wanted in expected:
        predictions.write(path.with_name("predictions.jsonl.gz"), lines)
        found = {"selections": {"last": {"metrics": {metric: {}}}}}
        records.write(path, found | {"predictions_sha256": files.sha256(path.with_name("predictions.jsonl.gz"))})
        kind = tasks.classes()[task]
        ((key, values),) = unseen.items_of(str(path), leak, kind, {}).items()
        assert key == ("last", metric)
        assert unseen.score(values, kind, metric) == pytest.approx(wanted | {"n": len(NEW)})


def test_a_model_card_begins_with_the_leak(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(method("hra"))
    data, split = manifests.folder(run.tiny["dataset"]), run.evaluate["params"]["dataset"]["split"]
    rows = len(read_parquet(data / f"{split}.parquet"))
    named = {name: run.evaluate["wildcards"][name] for name in ("dataset", "benchmark")}
    folder = exported(run, tmp_path, {}, [leaky(tmp_path, split, rows) | named])

    lines = predictions.read(run.evaluate["output"]["predictions"])
    right = [line["label"] == np.argmax(line["best_on_dev"]) for line in lines]
    new, every = np.mean(np.delete(right, ITEMS)), np.mean(right)
    card, unseen_rows = ModelCard.load(folder / "README.md"), f"{named['benchmark']} without the 3 rows that are in the"
    warning = card.text.strip().splitlines()[3]
    assert warning.startswith(f"> 3 of {rows} rows of {named['benchmark']} are also in the training data")
    assert f" {unseen_rows} training data: accuracy {new:.4f}. {named['benchmark']}: accuracy {every:.4f}." in warning
    first, second = card.data.eval_results
    assert (first.metric_value, second.metric_value) == (new, every) and unseen_rows in first.dataset_name
    assert f"| {rows - 3} |" in card.text
