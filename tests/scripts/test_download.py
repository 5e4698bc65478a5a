"""Downloads of datasets and models: content, checks, errors."""

import hashlib
import json
from pathlib import Path

import jsonschema
import pandas
import pytest

import download
import rule_jobs
from hra_workflow.core import errors, files
from hra_workflow.core.errors import JobError
from hra_workflow.data import finished_downloads, http_download, text_tables
from sums import SUMS
from support import ROOT

SCHEMA = json.loads((ROOT / "workflow/schemas/manifest.schema.json").read_text())
DATASET = {
    "splits": {"train": ["train.csv"], "validation": ["dev.csv"]},
    "read": {"sep": ","},
    "columns": ["sentence"],
    "label": "label",
    "labels": ["bad", "good"],
}
TRAIN = 'label,sentence,more\n1,a fine day,x\n0,"so, no",x\n1,NA,x\n'
DEV = "label,sentence\n0,none\n1,null\n"


def download_checked(manifest: Path, source: dict, **params) -> dict:
    """Download a model, or a dataset if `params` have one; return its manifest's content."""
    job = rule_jobs.download("dataset" if "dataset" in params else "model", manifest, source, name="glue/toy", **params)
    try:
        download.main(job)
    except JobError as problem:
        assert "\n" not in errors.describe(problem)  # the last line of a log is what the user is shown
        assert not manifest.exists()
        raise
    record = files.read_json(manifest)
    jsonschema.validate(record, SCHEMA)
    folder = manifest.parent / record["folder"]
    for path, entry in record["files"].items():
        assert entry == {"bytes": (folder / path).stat().st_size, "sha256": files.sha256(folder / path)}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(record["files"])
    kept = {finished_downloads.copy_of(manifest).name, f".{folder.name}.lock"}
    assert {path.name for path in manifest.parent.glob(".*")} == kept  # nothing under way is left
    return record


@pytest.fixture
def toy(tmp_path):
    """toy(train=…, **changes of the entry): download a local dataset, return its manifest's content."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/dev.csv").write_text(DEV)

    def make(train=TRAIN, **changes):
        (tmp_path / "raw/train.csv").write_bytes(train if isinstance(train, bytes) else train.encode())
        source = {"kind": "local", "path": str(tmp_path / "raw")}
        return download_checked(tmp_path / "toy.manifest.json", source, dataset=DATASET | changes)

    return make


def test_a_dataset(toy, tmp_path):
    record = toy(rows={"train": 3, "validation": 2})
    assert record["rows"] == {"train": 3, "validation": 2} and record["revision"] is None
    assert record["raw"]["train.csv"]["sha256"] == hashlib.sha256(TRAIN.encode()).hexdigest()
    frame = pandas.read_parquet(tmp_path / "toy/train.parquet")
    assert list(frame.columns) == ["sentence", "label"] and frame["label"].dtype == "int64"
    assert frame["sentence"].tolist() == ["a fine day", "so, no", "NA"]
    assert frame["label"].tolist() == [1, 0, 1]


def test_a_file_that_is_written_during_its_download_is_an_error(toy, tmp_path, monkeypatch):
    checked = text_tables.read_splits

    def writing(*arguments):
        splits = checked(*arguments)
        (tmp_path / "raw/train.csv").write_text(TRAIN + "1,more\n")
        return splits

    monkeypatch.setattr(text_tables, "read_splits", writing)
    with pytest.raises(JobError, match=r"a file in .*/raw changed while it was read\. Run again\."):
        toy()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"columns": ["text"]}, r"split train .*expected the column 'text', found 'label', 'sentence', 'more'"),
        ({"train": "label,sentence\nfine,a\npoor,b\n"}, r"line 2, .*: expected one of bad, good, found 'fine';"),
        ({"train": 'label,sentence\n1,"a\n\nb"\n\ngreat,b\n'}, r"line 6, column label: .*, found 'great'"),
        ({"labels": None, "train": "label,sentence\nnan,a\n"}, r"expected a finite number, found 'nan'"),
        ({"rows": {"train": 4}}, r"split train .*expected 4 rows, found 3"),
        ({"train": ""}, r"train\.csv, line 1: expected a header line, found an empty file"),
        ({"train": "label,sentence\n1,a\n0, \n"}, r"train\.csv, line 3, column sentence: expected text, found none"),
        ({"train": "label,sentence\n1\n"}, r"line 2: expected 2 fields \(label, sentence\), found 1: '1'"),
        ({"train": "label;sentence\n1;a\n"}, r'expected the columns .*, found .*\. Set `read: {sep: ";"}`'),
        ({"train": b"label,sentence\n0,caf\xe9\n"}, r"line 2: expected text in UTF-8, .*`read: {encoding: latin-1}`"),
        ({"train": 'label,sentence\n1,a\n0,"b\n1,c\n'}, r"line 3: a quote opens .* before it closes\. .*quoting: 3"),
        ({"splits": {"train": ["trian.csv"]}}, r"No file .*/trian\.csv\. .* contains: dev\.csv, train\.csv\. Save it"),
    ],
)
def test_a_dataset_that_does_not_fit(toy, options, message):
    with pytest.raises(JobError, match=message):
        toy(**options)


CONTENT = bytes(range(256)) * 2000
MODEL = {"model.safetensors": CONTENT, "config.json": b"{}"}


@pytest.fixture
def source(loopback, monkeypatch) -> dict:
    """Provide MODEL on a server."""
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    loopback.files |= {f"/{name}": content for name, content in MODEL.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in MODEL.items()}
    entries = {name: {"url": f"{loopback.address}/{name}", "sha256": digest} for name, digest in digests.items()}
    return {"kind": "url", "files": entries}


def test_code_and_pickles_are_refused_before_the_first_byte(loopback, source, tmp_path):
    source["files"]["modeling.py"] = source["files"]["weights.pkl"] = source["files"]["config.json"]
    with pytest.raises(JobError, match=r"found modeling\.py, weights\.pkl"):
        download_checked(tmp_path / "m.manifest.json", source)
    assert loopback.requests == []


def test_a_failure_keeps_what_has_come_of_the_same_source(loopback, source, tmp_path):
    manifest = tmp_path / "m.manifest.json"
    loopback.refuse["/config.json"] = (404, {})
    with pytest.raises(JobError, match="HTTP status 404"):
        download_checked(manifest, source)
    assert not (tmp_path / "m").exists()
    loopback.refuse.clear()
    loopback.requests.clear()
    assert set(download_checked(manifest, source)["files"]) == set(MODEL)
    assert {request["path"] for request in loopback.requests} == {"/config.json"}


def fetch(folder: Path, text: str, split: str = "train", **changes) -> dict:
    """Download sums; return the number of rows by split."""
    (folder / "raw").mkdir(parents=True)
    (folder / "raw/sums.jsonl").write_text(text)
    dataset = SUMS | {"splits": {split: ["sums.jsonl"]}, "rows": {}} | changes
    source = {"kind": "local", "path": str(folder / "raw")}
    return download_checked(folder / "sums.manifest.json", source, dataset=dataset)["rows"]


def test_a_few_rows_without_an_answer_are_kept_for_training_only_and_a_trial_takes_the_first_rows(tmp_path):
    good = '{"query": "1+1?", "response": "The answer is: 2"}\n'
    text = good * 199 + good.replace("The answer is: 2", "two")
    assert fetch(tmp_path / "1", text) == {"train": 200}
    assert fetch(tmp_path / "2", text, rows={"train": 200}, take={"train": 1}) == {"train": 1}
    with pytest.raises(JobError, match="expected 4 rows, found 200"):
        fetch(tmp_path / "3", text, rows={"train": 4}, take={"train": 1})
    with pytest.raises(JobError, match=r"line 200: expected .* 'metamath' .* found 'two'"):
        fetch(tmp_path / "4", text, "test")
