"""Download of a dataset: content, checks, errors."""

import hashlib

import pandas
import pytest

import download
from downloaded_datasets import DATASET, DEV, TRAIN, job_of, run
from hra_workflow.core import files
from hra_workflow.core.errors import JobError


@pytest.fixture
def toy(tmp_path):
    """toy(train=…, dev=…, **changes of the entry): download a local dataset, return its manifest's content."""

    def make(train=TRAIN, dev=DEV, **changes):
        place = tmp_path / "raw"
        place.mkdir(exist_ok=True)
        (place / "train.csv").write_bytes(train if isinstance(train, bytes) else train.encode())
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
    checked = download.text_tables.read_splits

    def writing(*arguments):
        splits = checked(*arguments)
        (toy.folder.parent / "raw/train.csv").write_text(TRAIN + "1,more\n")
        return splits

    monkeypatch.setattr(download.text_tables, "read_splits", writing)
    with pytest.raises(JobError, match=r"a file in .*/raw changed while it was read\. Run again\."):
        toy()


def test_a_file_of_unknown_kind_names_those_that_are_known(toy):
    (toy.folder.parent / "raw").mkdir()
    (toy.folder.parent / "raw/train.txt").write_text(TRAIN)
    with pytest.raises(JobError, match=r"train\.txt cannot be read as Parquet: .*Name it \.csv, .* or state `read`"):
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
            r"train\.csv, line 3, column label: expected a class, 0 to 1 for bad, good, found '2';\n.*\n2 of 3 labels",
        ),
        (
            {"train": "label,sentence\nfine,a\npoor,b\nfine,c\n"},
            r"line 2, .*: expected one of bad, good, found 'fine';\n.*\n.*\n3 of 3 .* invalid \('fine' 2, 'poor' 1\)\.",
        ),
        ({"train": "label,sentence\n1,a\n-1,b\n"}, r"line 3, column label: .*, found '-1'"),
        ({"train": "label,sentence\n1,a\n0.5,b\n"}, r"line 3, column label: .*, found '0\.5'"),
        ({"train": "label,sentence\n1,a\n,b\n"}, r"line 3, column label: .*, found ''"),
        ({"train": 'label,sentence\n1,"a\n\nb"\n\ngreat,b\n'}, r"line 6, column label: .*, found 'great'"),
        (
            {"train": "label,sentence\n" + "good,a\n" * 319 + "goood,b\n"},
            r"line 321, column label: expected one of bad, good, found 'goood' \(is it 'good'\?\); 1 of 320",
        ),
        ({"train": "label,sentence\n" + "1,a\n" * 319 + "good,b\n"}, r"line 321, .*, found 'good'; 1 of 320 labels"),
        (
            {"labels": ["1", "2", "3"], "train": "label,sentence\n1,a\n2,b\n0,c\n"},
            r"line 4, column label: expected one of 1, 2, 3, found '0'; 1 of 3 labels are invalid",
        ),
        (
            {"labels": None, "train": "label,sentence\n1,a\nx,b\n"},
            r"line 3, .*: expected a finite number, found 'x'",
        ),
        ({"labels": None, "train": "label,sentence\n1,a\ninf,b\n"}, r"expected a finite number, found 'inf'"),
        ({"labels": None, "train": "label,sentence\nnan,a\n"}, r"expected a finite number, found 'nan'"),
        ({"rows": {"train": 4}}, r"split train .*expected 4 rows, found 3"),
        ({"train": "label,sentence\n"}, r"split train .*no rows"),
        ({"train": ""}, r"train\.csv, line 1: expected a header line, found an empty file"),
        ({"train": "label,sentence\n1,a\n0, \n"}, r"train\.csv, line 3, column sentence: expected text, found none"),
        (
            {"train": "label,sentence\n1,a\n0,b,c,d\n"},
            r"line 3: expected 2 fields \(label, sentence\), found 4: '0,b,c,d'",
        ),
        ({"train": "label,sentence\n1\n"}, r"line 2: expected 2 fields \(label, sentence\), found 1: '1'"),
        (
            {"train": "label;sentence\n1;a\n"},
            r'expected the columns .*, found .*\. Set `read: {sep: ";"}`',
        ),
        ({"train": "label;sentence\n1;a, b\n"}, r'line 2: expected 1 field .*, found 2: .*\. Set `read: {sep: ";"}`'),
        (
            {"train": b"label,sentence\n1,a\n0,caf\xe9\n"},
            r"line 3: expected text in UTF-8, found the byte 0xe9\. .*`read: {encoding: latin-1}`",
        ),
        ({"train": b"\xef\xbb\xbflabel,sentence\n1,caf\xe9\n"}, r"line 2: .* UTF-8, found the byte 0xe9\."),
        ({"train": "label,sentence\n1,a\n".encode("utf-16")}, r"line 1: .* 0xff\. .*`read: {encoding: utf-16}`"),
        ({"train": 'label,sentence\n1,a\n0,"b\n1,c\n'}, r"line 3: a quote opens .* before it closes\. .*quoting: 3"),
        ({"train": 'label,sentence\n1,"a"\n"'}, r"line 3: a quote opens"),
        ({"read": {"encoding": "utf-16"}, "train": "label,sentence\n1,ab\n"}, r"line 1: UTF-16 .* or `read`"),
        ({"read": {"encoding": "utf-99"}}, r"train\.csv, line 1: unknown encoding: utf-99\. Correct .* `read`"),
        ({"read": {"quoting": 2}}, r"train\.csv, line 1: could not convert .*'label'\. Correct .* `read`"),
        ({"splits": {"train": ["dev.csv", "train.csv"]}, "train": "\0" * 9}, r"train\.csv, line 1: .* NUL in"),
        (
            {"train": "label,sentence,sentence\n1,,a\n"},
            r"train\.csv: expected each column once, found 'sentence' more than once\. Rename or remove one\.",
        ),
        (
            {"train": "label,sentence\n1,a\n0,b\0\n"},
            r"train\.csv, line 3, column sentence: .*found the character NUL in 'b\\x00'",
        ),
        (
            {"train": "label,sentence\n1,a\n".encode("utf-16-le")},
            r"(?s)line 1: .*NUL .*save it as UTF-8 or set `read: {encoding: utf-16}`",
        ),
        ({"splits": {"train": ["trian.csv"]}}, r"No file .*/trian\.csv\. .* contains: dev\.csv, train\.csv\. Save it"),
        ({"splits": {"train": ["train.csv", "x.csv"]}}, r"No file .*/x\.csv\. "),
    ],
)
def test_a_dataset_that_does_not_fit(toy, options, message):
    with pytest.raises(JobError, match=message):
        toy(**options)


def test_a_few_empty_texts_of_pairs_are_real_and_many_are_not(toy, capsys):
    rows = [f"1,a,{row}" for row in range(3000)]
    rows[1] = "1,a,"
    pairs = {"columns": ["s", "t"], "splits": {"train": ["train.csv"]}}
    toy(train="label,s,t\n" + "\n".join(rows), **pairs)
    assert "t is empty in 1 of 3,000 rows" in capsys.readouterr().err
    with pytest.raises(JobError, match=r"line 3, column t: expected text, found none; t is empty in 1 of 100"):
        toy(train="label,s,t\n" + "\n".join(rows[:100]), **pairs)


def test_a_split_must_be_among_the_files(tmp_path):
    source = {"kind": "hub", "repo": "a/b", "revision": "0" * 40, "files": {"x.parquet": None}}
    with pytest.raises(JobError, match=r"split train reads train\.csv, .*does not list"):
        run(tmp_path / "toy.manifest.json", source, DATASET)
