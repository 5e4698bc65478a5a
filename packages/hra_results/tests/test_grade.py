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


def test_the_command_prints_the_accuracies_and_writes_every_grade(tmp_path, capsys):
    for name, references in ("mine.csv", GOLDS), ("mine.jsonl", [f"Some work.\n#### {gold}" for gold in GOLDS]):
        path = write(tmp_path / name, references)
        assert main(["grade", str(path), "--output", "response", "--answer", "target"]) == 0
        *shown, written = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in shown] == [
            ["official", "25.00"],
            ["strict", "25.00"],
            ["lenient", "50.00"],
        ]
        assert written == f"Every grade: {tmp_path}/mine.graded.jsonl"
        rows = [json.loads(line) for line in (tmp_path / "mine.graded.jsonl").read_text().splitlines()]
        assert [row["gold"] for row in rows] == GOLDS and [row["output"] for row in rows] == OUTPUTS
        found = [("7", True), ("42", True), ("10", False), (None, False)]
        assert [row["lenient"] for row in rows] == [{"answer": answer, "right": right} for answer, right in found]


@pytest.mark.parametrize(
    ("style", "output", "answer", "read"),
    [
        ("gsm8k", "The answer is: 42", 42, "42"),  # a reference may be a number
        ("boxed", r"The answer is: \frac{2}{4}", r"\boxed{1/2}", r"\frac{2}{4}"),  # expressions are compared by value
    ],
)
def test_answers_are_compared_by_value(tmp_path, style, output, answer, read):
    (tmp_path / "a.jsonl").write_text(json.dumps({"output": output, "answer": answer}))
    (row,) = grade.grade(tmp_path / "a.jsonl", "output", "answer", style)
    assert row["strict"] == {"answer": read, "right": True}


@pytest.mark.parametrize(
    ("references", "output", "message"),
    [
        (
            ["#### 7", *GOLDS[1:]],
            "response",
            r"row 2: expected a final answer .* \(#### .*\), found .42.;(.|\n)*\nMark it",
        ),
        (["The answer is: 7", *GOLDS[1:]], "response", "row 1: .* of style metamath: .* --style metamath"),
        (["7", "forty-two", "1000", "5"], "response", r"row 2: expected a number, found forty-two\."),
        (GOLDS, "output", r"expected the column 'output', found 'response', 'target'"),
    ],
)
def test_what_cannot_be_graded_is_one_message(tmp_path, references, output, message):
    with pytest.raises(JobError, match=message):
        grade.grade(write(tmp_path / "mine.jsonl", references), output, "target", "gsm8k")
