"""Rows of a benchmark that are also in the training data: counted in the notes of a table and in a model card."""

import pytest
from huggingface_hub import ModelCard

import collect_runs
import factories
from glue_tables import grid
from hra_workflow.core import files
from hra_workflow.report import run_statistics
from support import method
from table import main as make_table
from test_export_adapter import exported

WARNING = "3 of 12 rows of dev also occur in train"


def leaky(folder, split: str = "dev", rows: int = 12) -> dict:
    """Write the card of a dataset with a leak; return its benchmark."""
    path = str(folder / "sst2.manifest.json")
    counts = {"rows": rows, "in_train": 3, "in_train_items": [1, 3, 4]}
    card = {"splits": {"train": {"rows": 50}, split: counts}, "warnings": [WARNING], "own": {}}
    files.write_json(path.replace(".manifest.", ".card."), card)
    return {"dataset": "sst2", "benchmark": "dev", "train": path, "reported": path, "split": split}


def table_of(folder, benchmark: dict) -> tuple[dict, str]:
    """Make the table of three seeds; return its row of the best checkpoint, and its Markdown."""
    expected = grid(folder, datasets=("sst2",))
    paths = [factories.write(folder, run, [0.1, 0.75]) for run in expected]
    collect_runs.main(factories.collect_job(folder, expected, paths))
    job = factories.table_job(folder, expected)
    job["params"] |= {"benchmarks": [benchmark], "data": [benchmark["train"]]}
    make_table(job)
    return run_statistics.read_csv(folder / "table_glue.csv").iloc[0], (folder / "table_glue.md").read_text()


@pytest.mark.parametrize(
    ("split", "count", "warning"),
    [
        ("dev", "3 of 12", WARNING),
        ("train", "12 of 12", "the benchmark dev is the split on which models are trained, so its scores"),
    ],
    ids=["rows", "training_split"],
)
def test_the_notes_of_a_table_begin_with_the_rows_that_are_trained_on(tmp_path, split, count, warning):
    _, text = table_of(tmp_path, leaky(tmp_path, split))
    first = text.partition("## Notes\n\n")[2].splitlines()[0]
    assert first.startswith(f"- **Rows that are trained on** are in SST-2: {count} rows; ")
    assert warning in text


def test_a_model_card_begins_with_the_leak(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(method("hra"))
    named = {name: run.evaluate["wildcards"][name] for name in ("dataset", "benchmark")}
    leak = leaky(tmp_path) | named
    files.write_json(leak["reported"], files.read_json(run.tiny["dataset"]))
    folder = exported(run, tmp_path, {}, [leak])
    warning = ModelCard.load(folder / "README.md").text.strip().splitlines()[3]
    assert warning.startswith(f"> 3 of 12 rows of {named['benchmark']} are also in the training data, so the scores do")
