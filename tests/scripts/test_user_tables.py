"""Whatever reads a table of the user's, for training, predictions or grades, refuses what it would misread."""

import pyarrow.parquet
import pytest

import grade
from hra_workflow.core.errors import JobError
from hra_workflow.data import new_inputs, text_tables


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,text\na,b\n", "'text' more than once"),
        ("a.tsv", b"text\tn\n\0\t1\n", "a.tsv, line 2, column text: expected text, found the character NUL"),
        ("a.json", b'[{"text": "a", "text": "b"}]', "'text' more than once"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b", "text": ""}', "line 3: .*'text' more than once"),
        ("a.jsonl", b'{"text": "a\\u0000"}', "line 1, column text: expected text, found the character NUL"),
        ("a.parquet", None, "'text' more than once"),
        ("a.txt", b"fine\n\na\0", "line 3, column text: expected text, found the character NUL"),
        ("a.txt", b"fine\ncaf\xe9\n", "line 2: expected text in UTF-8, found the byte 0xe9"),
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
        with pytest.raises(JobError, match=message):
            grade.grade(path, "text", "text", "gsm8k")
        entry = {"splits": {"train": [name]}, "columns": ["text"]}
        with pytest.raises(JobError, match=message):
            text_tables.read_splits("mine", entry, tmp_path, None)


def test_columns_without_a_name_may_be_several(tmp_path):
    (tmp_path / "a.csv").write_text("text,,\na,,\n")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\nb\x0cc\n")
    assert new_inputs.table(str(tmp_path / "a.csv"), ["text"])["text"] == ["a"]
    assert new_inputs.table(str(tmp_path / "a.txt"), ["text"])["text"] == ["a", "b\x0cc"]
