"""Whatever reads a table of the user's, for training or predictions, refuses what it would misread."""

import json

import pyarrow.parquet
import pytest
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import new_inputs, subject_images, text_tables


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,text\na,b\n", "'text' more than once"),
        ("a.json", b'[{"text": "a", "text": "b"}]', "'text' more than once"),
        ("a.jsonl", b'{"text": "a\\u0000"}', "line 1, column text: expected text, found the character NUL"),
        ("a.jsonl", b'{"text": "a\\ud83d"}', r"line 1, column text: .* a surrogate .* in 'a.ud83d'. Remove"),
        ("a.parquet", None, "'text' more than once"),
        ("a.txt", b"fine\ncaf\xe9\n", r"line 2: expected .* UTF-8, found the byte 0xe9\. Save the file as UTF-8\.$"),
    ],
)
def test_a_column_that_is_there_twice_and_nul(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        column = pyarrow.array(["a"])
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays([column, column], ["text", "text"]), path)
    else:
        path.write_bytes(content)
    with pytest.raises(JobError, match=message):
        new_inputs.table(str(path), ["text"])
    if path.suffix != ".txt":
        entry = {"splits": {"train": [name]}, "columns": ["text"]}
        with pytest.raises(JobError, match=message):
            text_tables.read_splits("mine", entry, tmp_path, None)


TYPES = {"splits": {"train": ["a.csv"]}, "columns": ["text"], "label": "label", "labels": ["HUM", "LOC", "ENTY"]}


def test_all_problems_of_a_file_are_one_error_by_line(tmp_path):
    rows = ["text 2,LOC", "who,Hum", "a,b,LOC", " ,LOC", "text", "what,ENTITY"]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "b.csv").write_text("text,label\nwho,Hum\n")
    with pytest.raises(JobError) as problem:
        text_tables.read_splits("mine", TYPES | {"splits": {"train": ["a.csv"], "dev": ["b.csv"]}}, tmp_path, None)
    lines = str(problem.value).splitlines()
    assert lines[0] == "mine, train: 5 problems:" and lines[-1].startswith("mine, dev: b.csv, line 2, column label: ")
    assert [line.split(": ")[0] for line in lines[1:6]] == [
        *("  a.csv, line 3, column label", "  a.csv, line 4", "  a.csv, line 5, column text", "  a.csv, line 6"),
        "  a.csv, line 7, column label",
    ]
    assert lines[6].startswith("2 of 4 labels are invalid ('Hum' 1, 'ENTITY' 1). Correct the file or `read`. ")


@pytest.mark.parametrize(
    ("name", "good", "bad", "found"),
    [
        ("a.csv", "a,1", "a,1,2", "a.csv, line 2: expected 2 fields (text, label), found 3: 'a,1,2'"),
        ("a.jsonl", '{"text": "a"}', '{"text"', "a.jsonl, line 2: expected JSON, found '{\"text\"'"),
        ("a.jsonl", '{"text": "a"}', '{"text": 3}', "a.jsonl, line 2, column text: expected text, found 3"),
    ],
)
def test_the_first_ten_problems_of_new_inputs_and_their_number(tmp_path, name, good, bad, found):
    first = "text,label" if name == "a.csv" else good
    (tmp_path / name).write_text("\n".join([first, *[bad] * 12, good]))
    with pytest.raises(JobError) as problem:
        new_inputs.table(str(tmp_path / name), ["text"])
    head, *lines, rest, remedy = str(problem.value).split("\n")
    assert head == f"{tmp_path / name}: 12 problems:" and rest == "  and 2 more." and len(lines) == 10
    assert found in lines[0] and remedy[0].isupper() and remedy.endswith(".")


def test_the_images_of_a_folder_that_cannot_be_used_are_one_error(tmp_path):
    for number in range(3):
        Image.new("RGB", (8 + 8 * number, 16)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_text("no image")
    paths = {path.name: path for path in sorted(tmp_path.iterdir())}
    for check in (lambda: subject_images.check(paths, 16), lambda: new_inputs.images_in(str(tmp_path), 16)):
        with pytest.raises(JobError, match=r"2 problems:\n  .*0\.png: expected at least 16 .*;\n  .*3\.png: cannot be"):
            check()


def labelled(folder, name: str, labels: list | None, *values) -> list | str:
    """Return the labels of a file with these values, or the text of the error."""
    path = folder / name
    if path.suffix == ".parquet":
        columns = {"text": [f"text {row}" for row in range(len(values))], "label": [*values]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif path.suffix == ".csv":
        path.write_text("\n".join(["text,label", *(f"text {row},{one}" for row, one in enumerate(values))]))
    else:
        path.write_text("\n".join(json.dumps({"text": f"text {row}", "label": one}) for row, one in enumerate(values)))
    entry = {"splits": {"train": [name]}, "columns": ["text"], "label": "label", "labels": labels}
    try:
        return text_tables.read_splits("mine", entry, folder, None)["train"]["label"]
    except JobError as problem:
        return str(problem)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_label_means_the_same_in_every_format(tmp_path, name):
    def read(labels, *values):
        return labelled(tmp_path, name, labels, *values)

    assert read(["1", "0"], "1", "0", "1") == [0, 1, 0]
    assert read(["bad", "good"], 1, 0) == read(["0", "1"], 1, 0) == read(["bad", "good"], 1.0, 0.0) == [1, 0]
    assert read([*"12345"], 5, 1, 4) == read([*"12345"], 5.0, 1.0, 4.0) == [4, 0, 3]  # 5 is no position
    assert read(["2.0", "1.0"], 1, 2) == [1, 0] and read(["01", "02"], "01", "02") == [0, 1]
    assert "expected one of 1, 2, 3, found" in read(["1", "2", "3"], 1, 2, 0, 7)
    assert read(None, 1, 2.5) == [1.0, 2.5]
    for wrong in ("1_000", "true", ""):
        assert f"expected a finite number, found {wrong!r}; 1 of 2 labels" in read(None, "2.5", wrong)


@pytest.mark.parametrize(("name", "number"), [("a.jsonl", 1), ("a.parquet", 1.0)])
def test_a_number_that_may_be_a_name_or_a_position_is_refused(tmp_path, name, number):
    found = (
        f"1, column label: expected a name or a position in `labels`, found {number}, which is the name '1' and the "
    )
    assert found + "position of '0'" in labelled(tmp_path, name, ["1", "0"], number)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_true_and_false_are_names_and_no_numbers(tmp_path, name):
    for labels in (["true", "false"], ["True", "False"]):
        assert labelled(tmp_path, name, labels, True, False, True) == [0, 1, 0]
    assert "expected one of bad, good, found True" in labelled(tmp_path, name, ["bad", "good"], True, False)
    assert "expected a finite number, found True" in labelled(tmp_path, name, None, True)
    assert "expected one of None, some, found None" in labelled(tmp_path, name, ["None", "some"], "some", None)


@pytest.mark.parametrize(
    ("found", "hint"),
    [("politics", ""), ("pos", ""), ("positivee", " (is it 'positive'?)"), ("Negative", " (is it 'negative'?)")],
)
def test_a_hint_is_a_similar_name_or_none(tmp_path, found, hint):
    message = labelled(tmp_path, "a.csv", ["negative", "positive"], "positive", found)
    assert f"expected one of negative, positive, found '{found}'{hint}; 1 of 2 labels" in message
