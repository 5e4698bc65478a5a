"""`hra-workflow diff` names the input that it refuses, with exit status 2, and replaces no file."""

import re
import shutil
from pathlib import Path

import pytest

from hra_workflow.core import files, predictions, records
from states import edit, edit_run, write_run


def edit_digit(run: Path) -> None:
    path = run / "train.json"
    path.write_text(re.sub(r"\d(?=,\n)", "7", path.read_text(), count=1))


def lower_value(run: Path) -> None:
    found = files.read_json(run / "dev/metrics.json")["selections"]
    found["last"]["metrics"]["accuracy"]["value"] = 0.5
    edit(run / "dev/metrics.json", selections=found)


def remove_scores(run: Path) -> None:
    path = run / "dev/predictions.jsonl.gz"
    predictions.write(path, [{"item": line["item"], "label": line["label"]} for line in predictions.read(path)])
    edit(run / "dev/metrics.json", predictions_sha256=files.sha256(path))


WRONG = [  # a change of the run of the second of two equal states
    (lambda run: shutil.rmtree(run.parents[4]), r"B \(b\): expected a folder of results or of a run"),
    (
        lambda run: run.parent.rename(run.parent.with_name("r9")),
        r"expected a run that both have, found glue/rte/hra/r8/",
    ),
    (edit_digit, r"b/.*/train.json: expected the content that was written"),
    (
        lambda run: predictions.write(run / "dev/predictions.jsonl.gz", []),
        r"b/.*/predictions.jsonl.gz: expected the file that metrics.json in its folder was computed from",
    ),
    (lambda run: edit_run(run, mood=3), r"b/.*/train.json: top level: .*'mood' was unexpected.* for another version"),
    (lambda run: edit_run(run, task="math"), "expected two runs of one task, found glue and math"),
    (
        lambda run: edit(run / "train.json", seconds=1.0),
        r"b/.*/dev/metrics.json: expected the results of the run as it is now, found those of another train.json",
    ),
    (remove_scores, r"b/.*/predictions.jsonl.gz: expected predictions of this version .* \(KeyError: 'last'\)"),
    (lower_value, r"b/.*/predictions.jsonl.gz: .* accuracy is 1 instead of 0.5 in metrics.json, last\)"),
    (
        lambda run: records.write(run / "retention.json", {"benchmarks": {}, "task_version": 1}),
        r"b/.*/retention.json: expected an entry 'device', found none",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_input_is_named(tmp_path, compared, change, message):
    write_run(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    change(tmp_path / "b/glue/rte/hra/r8/seed0")
    code, _, error = compared("a", "b", "--to", "page.html")
    assert code == 2 and re.search(f"^Error: {message}", error) and not Path("page.html").exists()


def test_an_existing_file_is_not_replaced(tmp_path, compared):
    write_run(tmp_path / "a")
    Path("page.html").write_text("mine")
    code, _, error = compared("a", "a", "--to", "page.html")
    assert code == 2 and "--to page.html: expected the path of a new file" in error
    assert Path("page.html").read_text() == "mine"
