"""One's own outputs are graded as the tables are."""

import json

import pandas
import pytest

from hra_results import grade
from hra_workflow.commands.main import main
from hra_workflow.core.errors import JobError

OUTPUTS = ["The answer is: 7", "The answer is 42", r"So it is \boxed{10}.", "No idea"]
GOLDS = ["7", "42", "1000", "5"]


def write(path, references: list[str]):
    rows = pandas.DataFrame({"response": OUTPUTS, "target": references})
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize(
    ("name", "references"), [("mine.csv", GOLDS), ("mine.jsonl", [f"Some work.\n#### {gold}" for gold in GOLDS])]
)
def test_the_command_prints_the_accuracies_and_writes_every_grade(tmp_path, capsys, references, name):
    path = write(tmp_path / name, references)
    assert main(["grade", str(path), "--output", "response", "--answer", "target"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[:3]] == [
        ["official", "25.00"],
        ["strict", "25.00"],
        ["lenient", "50.00"],
    ]
    assert printed[3] == f"Every grade: {tmp_path}/mine.graded.jsonl"
    rows = [json.loads(line) for line in (tmp_path / "mine.graded.jsonl").read_text().splitlines()]
    assert [row["gold"] for row in rows] == GOLDS and [row["output"] for row in rows] == OUTPUTS
    assert [row["lenient"] for row in rows] == [
        {"answer": "7", "right": True},
        {"answer": "42", "right": True},
        {"answer": "10", "right": False},
        {"answer": None, "right": False},
    ]


def test_a_reference_may_be_a_number(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"output": "The answer is: 42", "answer": 42}))
    (row,) = grade.grade(tmp_path / "a.jsonl", "output", "answer", "gsm8k")
    assert row["gold"] == "42" and row["strict"]["right"]


def test_expressions_are_compared_by_value(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"output": r"The answer is: \frac{2}{4}", "answer": r"\boxed{1/2}"}))
    (row,) = grade.grade(tmp_path / "a.jsonl", "output", "answer", "boxed")
    assert row["strict"] == {"answer": r"\frac{2}{4}", "right": True}


@pytest.mark.parametrize(
    ("references", "output", "message"),
    [
        (
            ["#### 7", "42", "1000", "5"],
            "response",
            r"row 2: expected a final answer .* \(#### .*\), found '42';\n  row 3: (.|\n)*\nMark it",
        ),
        (
            ["The answer is: 7", "42", "1000", "5"],
            "response",
            "row 1: .* of style metamath: .* --style metamath",
        ),
        (["7", "forty-two", "1000", "5"], "response", r"row 2: expected a number, found forty-two\."),
        (GOLDS, "output", r"expected the column 'output', found 'response', 'target'"),
    ],
)
def test_what_cannot_be_graded_is_one_message(tmp_path, references, output, message):
    with pytest.raises(JobError, match=message):
        grade.grade(write(tmp_path / "mine.jsonl", references), output, "target", "gsm8k")
