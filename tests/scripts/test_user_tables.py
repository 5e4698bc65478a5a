"""Whatever reads a table of the user's, for training or predictions, refuses what it would misread."""

import json

import pyarrow.parquet
import pytest
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import image_card, new_inputs, text_tables


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,text\na,b\n", "'text' more than once"),
        ("a.tsv", b"text\tn\n\0\t1\n", "a.tsv, line 2, column text: expected text, found the character NUL"),
        ("a.json", b'[{"text": "a", "text": "b"}]', "'text' more than once"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b", "text": ""}', "line 3: .*'text' more than once"),
        ("a.jsonl", b'{"text": "a\\u0000"}', "line 1, column text: expected text, found the character NUL"),
        ("a.jsonl", b'{"text": "a\\ud83d"}', r"line 1, column text: .* a surrogate .* in 'a.ud83d'. Remove"),
        ("a.parquet", None, "'text' more than once"),
        ("a.txt", b"fine\n\na\0", "line 3, column text: expected text, found the character NUL"),
        ("a.txt", b"fine\ncaf\xe9\n", r"line 2: expected .* UTF-8, found the byte 0xe9\. Save the file as UTF-8\.$"),
        ("a.jsonl", b'{"text": "caf\xe9"}', r"line 1: expected text in UTF-8, .* Save the file as UTF-8\.$"),
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


def test_both_escapes_of_a_character_are_one_and_unread_columns_may_have_any(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude00", "more": "\\ud83d"}')
    entry = {"splits": {"train": ["a.jsonl"]}, "columns": ["text"]}
    (split,) = text_tables.read_splits("mine", entry, tmp_path, None).values()
    assert split.columns == {"text": ["😀"]}
    with pytest.raises(JobError, match=r"a.jsonl, line 1, column more: .* found a surrogate"):  # predictions repeat it
        new_inputs.table(str(tmp_path / "a.jsonl"), ["text"])
    (tmp_path / "a.jsonl").write_text('{"text": "a", "\\ud83d": "\\ud83d"}')
    with pytest.raises(JobError, match=r"a.jsonl, line 1: expected text, found a surrogate .* in '.ud83d'"):
        new_inputs.table(str(tmp_path / "a.jsonl"), ["text"])


def test_columns_without_a_name_may_be_several(tmp_path):
    (tmp_path / "a.csv").write_text("text,,\na,,\n")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\nb\x0cc\n")
    assert new_inputs.table(str(tmp_path / "a.csv"), ["text"])["text"] == ["a"]
    assert new_inputs.table(str(tmp_path / "a.txt"), ["text"])["text"] == ["a", "b\x0cc"]


TYPES = {"splits": {"train": ["a.csv"]}, "columns": ["text"], "label": "label", "labels": ["HUM", "LOC", "ENTY"]}


def test_all_problems_of_a_file_are_one_error_by_line(tmp_path):
    wrong = {3: "who,Hum", 4: "a,b,LOC", 5: " ,LOC", 6: "text", 8: "what,ENTITY", 9: "where,plaec"}
    rows = [wrong.get(line, f"text {line},LOC") for line in range(2, 12)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "b.csv").write_text("text,label\nwho,Hum\n")
    with pytest.raises(JobError) as problem:
        text_tables.read_splits("mine", TYPES | {"splits": {"train": ["a.csv"], "dev": ["b.csv"]}}, tmp_path, None)
    assert str(problem.value) == (
        "mine, train: 6 problems:\n"
        "  a.csv, line 3, column label: expected one of HUM, LOC, ENTY, found 'Hum' (is it 'HUM'?);\n"
        "  a.csv, line 4: expected 2 fields (text, label), found 3: 'a,b,LOC';\n"
        "  a.csv, line 5, column text: expected text, found none;\n"
        "  a.csv, line 6: expected 2 fields (text, label), found 1: 'text';\n"
        "  a.csv, line 8, column label: expected one of HUM, LOC, ENTY, found 'ENTITY' (is it 'ENTY'?);\n"
        "  a.csv, line 9, column label: expected one of HUM, LOC, ENTY, found 'plaec'.\n"
        "3 of 8 labels are invalid ('Hum' 1, 'ENTITY' 1, 'plaec' 1). "
        "Correct the file, or `label`, `labels` or `read`.\n"
        "mine, dev: b.csv, line 2, column label: expected one of HUM, LOC, ENTY, found 'Hum' (is it 'HUM'?); "
        "1 of 1 labels are invalid. Correct the file, or `label`, `labels` or `read`."
    )


def test_lines_that_are_no_json_and_unknown_labels_are_one_error(tmp_path):
    rows = ['{"text": "a", "label": "LOC"}', "no JSON", "3", '{"text": "b", "label": "Loc"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    with pytest.raises(JobError) as problem:
        text_tables.read_splits("mine", TYPES | {"splits": {"train": ["a.jsonl"]}}, tmp_path, None)
    assert [line.split(":")[0].strip() for line in str(problem.value).splitlines()[1:4]] == [
        "a.jsonl, line 2",
        "a.jsonl, line 3",
        "a.jsonl, line 4, column label",
    ]


def test_fields_that_no_one_wants_may_be_missing(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,note\na,LOC\nb,HUM,good\n")
    (split,) = text_tables.read_splits("mine", TYPES, tmp_path, None).values()
    assert split.columns == {"text": ["a", "b"], "label": [1, 0]}


@pytest.mark.parametrize(
    ("name", "good", "bad", "found"),
    [
        ("a.csv", "a,1", "a,1,2", "a.csv, line 2: expected 2 fields (text, label), found 3: 'a,1,2'"),
        ("a.csv", "a,1", "a,0\0", "a.csv, line 2, column label: expected text, found the character NUL in '0\\x00'"),
        ("a.csv", "a,1", ",1", "a.csv, line 2: text is empty"),
        ("a.jsonl", '{"text": "a"}', '{"text"', "a.jsonl, line 2: expected JSON, found '{\"text\"'"),
        ("a.jsonl", '{"text": "a"}', "3", "a.jsonl, line 2: expected an object, found '3'"),
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
    for check in (lambda: image_card.make_card(paths, 16), lambda: new_inputs.images_in(str(tmp_path), 16)):
        with pytest.raises(JobError, match=r"2 problems:\n  .*0\.png: expected at least 16 .*;\n  .*3\.png: cannot be"):
            check()


def test_an_error_of_images_names_the_skipped_files_too(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    (tmp_path / "1.heic").write_bytes(b"")
    paths = {"0.png": tmp_path / "0.png"}
    for images, first in ((None, "expected at least 16 × 16 pixels"), (2, "expected 2 images, one per caption")):
        with pytest.raises(JobError, match=rf"{first}(.|\n)*\nAlso: 1 file skipped .*: 1\.heic\. Convert to JPEG"):
            image_card.make_card(paths, 16, tmp_path, images)


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
        return text_tables.read_splits("mine", entry, folder, None)["train"].columns["label"]
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


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("number", [int, float])
def test_a_number_that_may_be_a_name_or_a_position_is_refused(tmp_path, name, number):
    assert labelled(tmp_path, name, ["1", "0"], number(1), number(1)) == (
        f"mine, train: 2 problems:\n  {name}, {'line' if name == 'a.jsonl' else 'row'} 1, column label: expected a "
        f"name or a position in `labels`, found {number(1)}, which is the name '1' and the position of '0';\n  "
        f"{name}, {'line' if name == 'a.jsonl' else 'row'} 2, column label: expected a name or a position in `labels`, "
        f"found {number(1)}, which is the name '1' and the position of '0'.\nStore names as texts, in quotes; for "
        "positions, rename `labels` to words."
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_true_and_false_are_names_and_no_numbers(tmp_path, name):
    for labels in (["true", "false"], ["True", "False"]):
        assert labelled(tmp_path, name, labels, True, False, True) == [0, 1, 0]
    assert "expected one of bad, good, found True" in labelled(tmp_path, name, ["bad", "good"], True, False)
    assert "expected a finite number, found True" in labelled(tmp_path, name, None, True)
    assert "expected one of None, some, found None" in labelled(tmp_path, name, ["None", "some"], "some", None)


def test_a_number_that_no_float_can_hold_is_no_label(tmp_path):
    assert "expected a finite number, found 1000" in labelled(tmp_path, "a.jsonl", None, 10**400)


@pytest.mark.parametrize(
    ("found", "hint"),
    [("politics", ""), ("pos", ""), ("positivee", " (is it 'positive'?)"), ("Negative", " (is it 'negative'?)")],
)
def test_a_hint_is_a_similar_name_or_none(tmp_path, found, hint):
    message = labelled(tmp_path, "a.csv", ["negative", "positive"], "positive", found)
    assert f"expected one of negative, positive, found '{found}'{hint}; 1 of 2 labels" in message
