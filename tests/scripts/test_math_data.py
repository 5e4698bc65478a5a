"""Data of the mathematics task: files, rows, bytes."""

import gzip
import json
import time
from pathlib import Path

import pytest

import download
import rule_jobs
from hra_workflow.core import files, predictions
from hra_workflow.core.errors import JobError
from sums import SUMS


def fetch(folder: Path, text: str, name: str = "train.jsonl", **changes) -> dict:
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / name).write_text(text)
    dataset = SUMS | {"splits": {Path(name).stem: [name]}, "rows": {}} | changes
    manifest = folder / "sums.manifest.json"
    given = {"name": "math/sums", "dataset": dataset, "local_root": str(folder / "raw")}
    download.main(rule_jobs.download("dataset", manifest, dataset["source"], **given))
    return files.read_json(manifest)


GOOD = '{"query": "1+1?", "response": "The answer is: 2"}\n'


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (GOOD + "[" + GOOD, "train.jsonl", r"train.jsonl, line 2: expected JSON"),
        (GOOD + GOOD[:-10], "train.jsonl", r"train.jsonl, line 2: expected JSON.*truncated"),
        ("[" + GOOD, "train.json", r"train.json, line 2: expected JSON"),
        ("[1]", "train.json", r"row 1: expected an object"),
        ('{"query": "1+1?"}\n', "train.jsonl", r"expected the column 'response', found 'query'"),
        ('{"text": "1+1?"}\n', "train.jsonl", r"expected the columns 'query', 'response', found 'text'"),
        (
            '{"query": "1+1?", "response": 2}\n',
            "train.jsonl",
            r"train.jsonl, line 1, column response: expected text, found 2",
        ),
        (
            GOOD + '{"query": "1+1?", "response": "two"}\n',
            "test.jsonl",
            r"line 2: expected .* in the style 'metamath' \(The answer is: \.\.\.\), found 'two'; 1 of 2 rows",
        ),
        ("", "train.jsonl", r"expected the column|no rows"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, text, name, message):
    with pytest.raises(JobError, match=message):
        fetch(tmp_path, text, name)


def test_a_json_list_and_json_lines_give_the_same_rows(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = fetch(tmp_path / "a", GOOD * 3, "train.jsonl")
    two = fetch(tmp_path / "b", json.dumps([json.loads(GOOD)] * 3), "train.json")
    assert one["rows"] == two["rows"] == {"train": 3} and one["sha256"] == two["sha256"]


def test_a_few_training_rows_without_an_answer_are_kept(tmp_path, capsys):
    fetch(tmp_path, GOOD * 199 + '{"query": "1+1?", "response": "two"}\n')
    assert "there is no final answer in 1 of 200 rows of train" in capsys.readouterr().err


def test_a_trial_takes_the_first_rows(tmp_path):
    second = GOOD.replace("1+1", "2+0")
    assert fetch(tmp_path, GOOD + second * 4, rows={"train": 5}, take={"train": 1})["rows"] == {"train": 1}
    with pytest.raises(JobError, match="expected 4 rows, found 5"):
        fetch(tmp_path, GOOD + second * 4, rows={"train": 4}, take={"train": 1})


def test_outputs_are_equal_bytes_for_equal_content(tmp_path, monkeypatch):
    lines = [{"item": 0, "output": "é"}]
    for name, now in (("a.gz", 1e9), ("b.gz", 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        predictions.write(tmp_path / name, lines)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "a.gz").read_bytes())) == lines[0]
