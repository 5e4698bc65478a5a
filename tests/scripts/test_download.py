"""Models and datasets from source to manifest: finished downloads are intact, invalid ones have clear errors."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import jsonschema
import pandas
import pytest

import download
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download
from loopback import loopback  # noqa: F401  (a fixture)
from support import ROOT, SHARED

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


def job_of(manifest, source, dataset=None, mirror=None, local_root=".", license=None):
    params = {"name": "glue/toy", "source": source, "mirror": mirror, "local_root": str(local_root), "network": True}
    params["license"] = license
    if dataset:
        params["dataset"] = dataset
    rule = "download_dataset" if dataset else "download_model"
    return {"rule": rule, "input": {}, "output": {"manifest": str(manifest)}, "params": params, "log": ""}


def run(manifest, *arguments, **options):
    try:
        download.main(job_of(manifest, *arguments, **options))
    except JobError as problem:
        assert "\n" not in str(problem)  # the last line of a log is what the user is shown
        assert not manifest.exists()
        raise
    record = files.read_json(manifest)
    jsonschema.validate(record, SCHEMA)
    folder = manifest.parent / record["folder"]
    for path, entry in record["files"].items():
        assert entry == {"bytes": (folder / path).stat().st_size, "sha256": files.sha256(folder / path)}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(record["files"])
    assert not list(manifest.parent.glob(".*"))  # nothing under way is left
    return record


@pytest.fixture
def toy(tmp_path):
    """toy(train=…, dev=…, **changes of the entry): download a local dataset, return its manifest's content."""

    def make(train=TRAIN, dev=DEV, **changes):
        place = tmp_path / "raw"
        place.mkdir(exist_ok=True)
        (place / "train.csv").write_text(train)
        (place / "dev.csv").write_text(dev)
        return run(
            tmp_path / "toy.manifest.json", {"kind": "local", "path": "raw"}, DATASET | changes, local_root=tmp_path
        )

    make.folder = tmp_path / "toy"
    return make


# Datasets


def test_dataset(toy):
    record = toy(rows={"train": 3, "validation": 2})
    assert record["rows"] == {"train": 3, "validation": 2} and record["revision"] is None
    assert set(record["files"]) == {"train.parquet", "validation.parquet"}
    assert record["raw"]["train.csv"]["sha256"] == hashlib.sha256(TRAIN.encode()).hexdigest()
    frame = pandas.read_parquet(toy.folder / "train.parquet")
    assert list(frame.columns) == ["sentence", "label"] and frame["label"].dtype == "int64"
    assert frame["sentence"].tolist() == ["a fine day", "so, no", "NA"]
    assert frame["label"].tolist() == [1, 0, 1]


def test_the_manifest_records_the_licence(tmp_path):
    source = {"kind": "local", "path": "."}
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/config.json").write_text("{}")
    found = [
        run(tmp_path / "m.manifest.json", source, local_root=tmp_path / "raw", license=one) for one in (None, "MIT")
    ]
    assert [record.pop("license", None) for record in found] == [None, "MIT"] and found[0] == found[1]


def test_the_same_data_gives_the_same_hash(toy):
    first, again = toy(), toy()
    assert first.pop("own") != again.pop("own") and again == first
    assert toy(dev=DEV + "1,more\n")["sha256"] != first["sha256"]


ROWS = [
    {"question": 'What is "1, 1" in sum?', "answer": "The answer is: 2"},
    {"question": "NA", "answer": "The answer is: 3"},
]
WRITERS = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".json": lambda frame, path: frame.to_json(path, orient="records"),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".parquet": lambda frame, path: frame.to_parquet(path),
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("task", ["glue", "math"])
def test_own_files_are_read_by_their_suffix(tmp_path, task, suffix):
    frame = pandas.DataFrame(ROWS)
    if task == "glue":
        entry = {"columns": ["question"], "label": "label", "labels": ["bad", "good"]}
        frame = frame[["question"]].assign(label=[1, 0])
    else:
        entry = {"columns": {"question": "question", "answer": "answer"}, "answer": "metamath"}
    WRITERS[suffix](frame, tmp_path / f"mine{suffix}")
    entry["splits"] = {"train": [f"mine{suffix}"]}
    run(tmp_path / "own/mine.manifest.json", {"kind": "local", "path": "."}, entry, local_root=tmp_path)
    assert pandas.read_parquet(tmp_path / "own/mine/train.parquet").to_dict("records") == frame.to_dict("records")


def test_an_interrupted_download_leaves_nothing_of_the_files_before_an_edit(tmp_path, monkeypatch):
    source, manifest = {"kind": "local", "path": "raw"}, tmp_path / "m.manifest.json"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/config.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(files, "replace_folder", lambda *places: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            download.main(job_of(manifest, source, local_root=tmp_path))
    (tmp_path / "raw/config.json").rename(tmp_path / "raw/new.json")
    assert run(manifest, source, local_root=tmp_path)["files"].keys() == {"new.json"}


def test_a_file_that_is_written_during_its_download_is_an_error(toy, monkeypatch):
    convert = download.text_tables.convert

    def writing(name, dataset, raw, *more):
        rows = convert(name, dataset, raw, *more)
        (toy.folder.parent / "raw/train.csv").write_text(TRAIN + "1,more\n")
        return rows

    monkeypatch.setattr(download.text_tables, "convert", writing)
    with pytest.raises(JobError, match=r"a file in .*/raw changed while it was read\. Run again\."):
        toy()


def test_a_file_of_unknown_kind_names_those_that_are_known(toy):
    (toy.folder.parent / "raw").mkdir()
    (toy.folder.parent / "raw/train.txt").write_text(TRAIN)
    with pytest.raises(JobError, match=r"train\.txt cannot be read as parquet: .*Name it \.csv, .* or state `read`"):
        toy(splits={"train": ["train.txt"]}, read=None)


def test_an_error_names_the_users_folder(toy, tmp_path):
    with pytest.raises(JobError) as problem:
        toy(label="gold")
    assert str(problem.value).endswith(f" The files are in {tmp_path}/raw.") and ".download" not in str(problem.value)
    (tmp_path / "mug").mkdir()
    (tmp_path / "mug/1.png").write_text("no image")
    source = {"kind": "local", "path": "mug"}
    with pytest.raises(JobError) as problem:
        run(tmp_path / "mug.manifest.json", source, {"resolution": 8}, local_root=tmp_path)
    assert f"{tmp_path}/mug/1.png" in str(problem.value) and ".download" not in str(problem.value)
    assert problem.value.final  # not retried


def test_a_stated_separator_wins_over_the_suffix(tmp_path):
    (tmp_path / "mine.csv").write_text("label;question\n1;a, b\n")
    entry = {"columns": ["question"], "label": "label", "labels": ["bad", "good"], "read": {"sep": ";"}}
    entry["splits"] = {"train": ["mine.csv"]}
    run(tmp_path / "own/mine.manifest.json", {"kind": "local", "path": "."}, entry, local_root=tmp_path)
    made = pandas.read_parquet(tmp_path / "own/mine/train.parquet")
    assert made.to_dict("records") == [{"question": "a, b", "label": 1}]


def test_regression(toy):
    toy(train="label,sentence\n2.5,a\n0,b\n", labels=None)
    frame = pandas.read_parquet(toy.folder / "train.parquet")
    assert frame["label"].dtype == "float64" and frame["label"].tolist() == [2.5, 0.0]


def test_labels_by_name(toy):
    toy(train="label,sentence\ngood,a\nbad,b\n", dev="label,sentence\nbad,c\n")
    assert pandas.read_parquet(toy.folder / "train.parquet")["label"].tolist() == [1, 0]


def test_no_newline_at_the_end_and_a_byte_order_mark(toy):
    assert toy(train="\ufeff" + TRAIN.rstrip("\n"), read={"sep": ",", "encoding": "utf-8-sig"})["rows"]["train"] == 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"columns": ["text"]}, r"split train .*expected the column 'text', found 'label', 'sentence', 'more'"),
        ({"label": "gold"}, r"expected the column 'gold'"),
        (
            {"train": "label,sentence\n1,a\n2,b\n7,c\n"},
            r"split train .*row 2: label '2' is not a class, 0 to 1 .*2 of 3",
        ),
        ({"train": "label,sentence\n1,a\n-1,b\n"}, r"row 2: label '-1' is not a class"),
        ({"train": "label,sentence\n1,a\n0.5,b\n"}, r"row 2: label '0\.5' is not a class"),
        ({"train": "label,sentence\n1,a\n,b\n"}, r"row 2: label '' is not a class"),
        ({"train": "label,sentence\n1,a\ngreat,b\n"}, r"row 2: label 'great' is not a class"),
        (
            {"train": "label,sentence\n" + "good,a\n" * 319 + "great,b\n"},
            r"row 320: label 'great' is not one of bad, good; 1 of 320",
        ),
        ({"train": "label,sentence\n" + "1,a\n" * 319 + "good,b\n"}, r"row 320: label 'good' .*; 1 of 320 labels"),
        (
            {"labels": ["1", "2", "3"], "train": "label,sentence\n1,a\n2,b\n0,c\n"},
            r"row 3: label '0' is not one of 1, 2, 3; 1 of 3 labels are invalid",
        ),
        ({"labels": None, "train": "label,sentence\n1,a\nx,b\n"}, r"row 2: label 'x' is not a finite number"),
        ({"labels": None, "train": "label,sentence\n1,a\ninf,b\n"}, r"label 'inf' is not a finite number"),
        ({"labels": None, "train": "label,sentence\nnan,a\n"}, r"label 'nan' is not a finite number"),
        ({"rows": {"train": 4}}, r"split train .*expected 4 rows, found 3"),
        ({"train": "label,sentence\n"}, r"split train .*no rows"),
        ({"train": ""}, r"train\.csv cannot be read as text"),
        ({"train": "label,sentence\n1,a\n0, \n"}, r"row 2: sentence empty"),
        ({"train": "label,sentence\n1,a\n0,b,c,d\n"}, r"train\.csv cannot be read as text"),
        ({"train": "label,sentence\n1\n"}, r"row 1: sentence empty"),
        ({"splits": {"train": ["trian.csv"]}}, r"No file .*/trian\.csv\. .* contains: dev\.csv, train\.csv\. Save it"),
        ({"splits": {"train": ["train.csv", "x.csv"]}}, r"No file .*/x\.csv\. "),
    ],
)
def test_a_dataset_that_does_not_fit(toy, options, message):
    with pytest.raises(JobError, match=message):
        toy(**options)


def test_a_few_empty_texts_of_pairs_are_real_and_many_are_not(toy, capsys):
    rows = ["1,a,b"] * 3000
    rows[1] = "1,a,"
    pairs = {"columns": ["s", "t"], "splits": {"train": ["train.csv"]}}
    toy(train="label,s,t\n" + "\n".join(rows), **pairs)
    assert "t is empty in 1 of 3000 rows" in capsys.readouterr().err
    with pytest.raises(JobError, match=r"t is empty in 1 of 100 rows, first in row 2"):
        toy(train="label,s,t\n" + "\n".join(rows[:100]), **pairs)


def test_a_split_must_be_among_the_files(tmp_path):
    source = {"kind": "hub", "repo": "a/b", "revision": "0" * 40, "files": {"x.parquet": None}}
    with pytest.raises(JobError, match=r"split train reads train\.csv, .*does not list"):
        run(tmp_path / "toy.manifest.json", source, DATASET)


def test_parquet_with_integer_labels(tmp_path):
    frame = pandas.DataFrame({"sentence": ["a", "b"], "label": [0, 1], "idx": [0, 1]})
    (tmp_path / "raw").mkdir()
    frame.to_parquet(tmp_path / "raw/t.parquet")
    entry = {key: value for key, value in DATASET.items() if key != "read"} | {"splits": {"train": ["t.parquet"]}}
    run(tmp_path / "toy.manifest.json", {"kind": "local", "path": "raw"}, entry, local_root=tmp_path)
    assert list(pandas.read_parquet(tmp_path / "toy/train.parquet").columns) == ["sentence", "label"]


def test_generated(tmp_path):
    source = {
        "kind": "init",
        "generator": "hra_workflow.demo.text_tasks:paraphrase",
        "rows": {"train": 30, "validation": 10},
        "seed": 1,
    }
    entry = {
        "splits": {"train": ["train.parquet"], "validation": ["validation.parquet"]},
        "columns": ["sentence1", "sentence2"],
        "label": "label",
        "labels": ["different", "same"],
    }
    assert run(tmp_path / "toy.manifest.json", source, entry)["rows"] == {"train": 30, "validation": 10}


def local(path, splits, columns, label, labels, rows, **read):
    entry = {"splits": splits, "read": read, "columns": columns, "label": label, "labels": labels, "rows": rows}
    return pytest.param({"kind": "local", "path": path}, entry, id=path)


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data on this machine")
@pytest.mark.parametrize(
    "source, entry",
    [
        local(
            "glue_cola",
            {"train": ["in_domain_train.tsv"], "validation": ["in_domain_dev.tsv", "out_of_domain_dev.tsv"]},
            ["sentence"],
            "label",
            ["unacceptable", "acceptable"],
            {"train": 8551, "validation": 1043},
            sep="\t",
            header=None,
            names=["source", "label", "mark", "sentence"],
            quoting=3,
        ),
        local(
            "glue_mrpc",
            {"train": ["msr_paraphrase_train.txt"], "validation": ["msr_paraphrase_test.txt"]},
            ["#1 String", "#2 String"],
            "Quality",
            ["not_equivalent", "equivalent"],
            {"train": 4076, "validation": 1725},
            sep="\t",
            quoting=3,
            encoding="utf-8-sig",
        ),
        local(
            "glue_stsb",
            {"train": ["stsb-en-train.csv"], "validation": ["stsb-en-dev.csv"], "test": ["stsb-en-test.csv"]},
            ["sentence1", "sentence2"],
            "label",
            None,
            {"train": 5749, "validation": 1500, "test": 1379},
            header=None,
            names=["sentence1", "sentence2", "label"],
        ),
        local(
            "glue_sst2",
            {"train": ["stsa.binary.train"], "validation": ["stsa.binary.dev"], "test": ["stsa.binary.test"]},
            ["sentence"],
            "label",
            ["negative", "positive"],
            {"train": 6920, "validation": 872, "test": 1821},
            sep=r"(?<=^[01])\s",
            header=None,
            names=["label", "sentence"],
            quoting=3,
            engine="python",
        ),
    ],
)
def test_real_data(tmp_path, source, entry):
    run(tmp_path / "toy.manifest.json", source, entry, local_root=SHARED / "data")
    for split, paths in entry["splits"].items():
        frame = pandas.read_parquet(tmp_path / f"toy/{split}.parquet")
        raw = "".join((SHARED / "data" / source["path"] / path).read_text("utf-8-sig") + "\n" for path in paths)
        lines = [line for line in raw.split("\n") if line][0 if "names" in entry["read"] else 1 :]
        assert len(lines) == len(frame)
        if entry["read"].get("quoting") == 3:  # no text lost a quote, a tab or its neighbour
            last = frame[entry["columns"][-1]]
            assert all(line.strip().endswith(text.strip()) for line, text in zip(lines, last, strict=True))


# Models


CONTENT = bytes(range(256)) * 2000
MODEL = {"model.safetensors": CONTENT, "config.json": b"{}"}


def model_source(server):
    server.files |= {f"/{name}": content for name, content in MODEL.items()}
    entries = {
        name: {"url": f"{server.address}/{name}", "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in MODEL.items()
    }
    return {"kind": "url", "files": entries}


def test_model(loopback, tmp_path):  # noqa: F811
    record = run(tmp_path / "m.manifest.json", model_source(loopback))
    assert set(record["files"]) == set(MODEL) and "rows" not in record


def test_code_and_pickles_are_refused_before_the_first_byte(loopback, tmp_path):  # noqa: F811
    source = model_source(loopback)
    source["files"]["modeling.py"] = source["files"]["weights.pkl"] = source["files"]["config.json"]
    with pytest.raises(JobError, match=r"found modeling\.py, weights\.pkl"):
        run(tmp_path / "m.manifest.json", source)
    assert loopback.requests == []


def test_a_folder_gives_its_model_files_only(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in ("config.json", "model.safetensors", "train.py", "optimizer.pt"):
        (tmp_path / "raw" / name).write_text("{}")
    record = run(tmp_path / "m.manifest.json", {"kind": "local", "path": "raw"}, local_root=tmp_path)
    assert set(record["files"]) == {"config.json", "model.safetensors"}


def test_a_failure_keeps_what_has_come_and_leaves_nothing_that_counts(loopback, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    loopback.refuse["/config.json"] = (500, {})
    with pytest.raises(JobError, match="HTTP status 500") as problem:
        run(manifest, source)
    assert not problem.value.final
    assert not manifest.exists() and not (tmp_path / "m").exists()
    loopback.refuse.clear()
    loopback.requests.clear()
    run(manifest, source)
    assert [request["path"] for request in loopback.requests] == ["/config.json"]


def test_a_new_source_does_not_mix_with_the_old(loopback, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    loopback.refuse["/config.json"] = (500, {})
    with pytest.raises(JobError):
        run(manifest, source)
    loopback.files["/model.safetensors"] = CONTENT[::-1]
    loopback.refuse.clear()
    source["files"]["model.safetensors"]["sha256"] = hashlib.sha256(CONTENT[::-1]).hexdigest()
    run(manifest, source)
    assert (tmp_path / "m/model.safetensors").read_bytes() == CONTENT[::-1]


def test_an_old_manifest_does_not_outlive_a_failure(loopback, tmp_path):  # noqa: F811
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    run(manifest, source)
    loopback.files["/config.json"] = b"altered"
    with pytest.raises(JobError, match="expected SHA-256"):
        run(manifest, source)


def test_killed_in_the_middle_then_resumed(loopback, tmp_path):  # noqa: F811
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    loopback.stand_still_after = 200_000
    job = tmp_path / "job.json"
    job.write_text(json.dumps(job_of(manifest, source) | {"resources": {}, "wildcards": {}}))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "workflow/scripts/download.py"), str(job)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 100
    while not any(part.stat().st_size > 100_000 for part in tmp_path.glob(".m.*/raw/*.part")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not manifest.exists() and not (tmp_path / "m").exists()
    loopback.stand_still_after = None
    loopback.requests.clear()
    run(manifest, source)
    asked, sent = loopback.sent()[0]
    assert asked.startswith("bytes=") and sent < len(CONTENT) - 100_000
    assert (tmp_path / "m/model.safetensors").read_bytes() == CONTENT
