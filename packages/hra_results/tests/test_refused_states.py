"""`hra-workflow diff` names the input that it refuses, with exit status 2, and replaces no file."""

import re
import shutil
from pathlib import Path

import pytest

from hra_workflow.core import files, predictions, records
from states import edit, edit_run, write_run


def damaged(change):
    """Return a function that applies a change to the second state of two equal ones."""
    return lambda folder: change(folder / "b/glue/rte/hra/r8/seed0")


def edit_digit(run: Path) -> None:
    path = run / "train.json"
    path.write_text(re.sub(r"\d(?=,\n)", "7", path.read_text(), count=1))


def lower(run: Path) -> dict:
    found = files.read_json(run / "dev/metrics.json")["selections"]
    found["last"]["metrics"]["accuracy"]["value"] = 0.5
    return found


def remove_scores(run: Path, **changes) -> None:
    path = run / "dev/predictions.jsonl.gz"
    predictions.write(path, [{"item": line["item"], "label": line["label"]} for line in predictions.read(path)])
    edit(run / "dev/metrics.json", predictions_sha256=files.sha256(path), **changes)


WRONG = {
    "no folder": (
        damaged(lambda run: shutil.rmtree(run.parents[4])),
        r"B \(b\): expected a folder of results or of a run",
    ),
    "no common run": (
        damaged(lambda run: run.parent.rename(run.parent.with_name("r9"))),
        r"expected a run that both have, found glue/rte/hra/r8/seed0 in A and glue/rte/hra/r9/seed0 in B\. Pass two",
    ),
    "edited record": (damaged(edit_digit), r"b/.*/train.json: expected the content that was written"),
    "edited predictions": (
        damaged(lambda run: predictions.write(run / "dev/predictions.jsonl.gz", [])),
        r"b/.*/predictions.jsonl.gz: expected the file that metrics.json in its folder was computed from",
    ),
    "a newer record": (
        damaged(lambda run: edit_run(run, mood=3)),
        r"b/.*/train.json: top level: .*'mood' was unexpected.* for another version of this project, use the code at",
    ),
    "another task": (
        damaged(lambda run: edit_run(run, task="math")),
        "expected two runs of one task, found glue and math",
    ),
    "results of another training": (
        damaged(lambda run: edit(run / "train.json", seconds=1.0)),
        r"b/.*/dev/metrics.json: expected the results of the run as it is now, found those of another train.json",
    ),
    "predictions of another version": (
        damaged(remove_scores),
        r"b/.*/predictions.jsonl.gz: expected predictions of this version .* \(KeyError: 'last'\).* commit d{40}, or",
    ),
    "another value from the items": (
        damaged(lambda run: edit(run / "dev/metrics.json", selections=lower(run))),
        r"b/.*/predictions.jsonl.gz: .* accuracy is 1 instead of 0.5 in metrics.json, last\)",
    ),
    "other results": (
        damaged(lambda run: records.write(run / "retention.json", {"benchmarks": {}, "task_version": 1})),
        r"b/.*/retention.json: expected an entry 'device', found none",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_named(tmp_path, compared, name):
    write_run(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    change, message = WRONG[name]
    change(tmp_path)
    code, _, error = compared("a", "b", "--to", "page.html")
    assert code == 2 and re.search(f"^Error: {message}", error) and not Path("page.html").exists()


def test_an_existing_file_is_not_replaced(tmp_path, compared):
    write_run(tmp_path / "a")
    Path("page.html").write_text("mine")
    code, _, error = compared("a", "a", "--to", "page.html")
    assert code == 2 and "--to page.html: expected the path of a new file" in error
    assert Path("page.html").read_text() == "mine"
