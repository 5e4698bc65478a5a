"""The grader follows the rules of PEFT's benchmark."""

import json

import pytest

from hra_workflow.tasks.math import answers
from studies.peft_metamathqa.grader import PEFT
from support import SHARED

NAME = "studies.peft_metamathqa.grader:PEFT"


@pytest.mark.parametrize(
    ("output", "gold", "answer", "right"),
    [
        ("It is 9 * 2 = 18.\n#### 18\nThe answer is: 18", "18", "18", True),
        ("The answer is: 18.\n\nQuestion: What?", "18", "18", True),  # the rest of the line only
        ("So the answer is clear. The answer is $18.00!", "18", "18.00", True),
        ("The answer is: 50%", "50", "50", True),
        ("The answer is: 5/2", "2.5", "5/2", True),
        ("The answer is: 5/2/1", "2.5", "5/2/1", False),
        ("The answer is: 1/0", "0", "1/0", False),
        ("The answer is: 2125", "2,125", "2125", False),  # a thousands separator is no number
        ("The answer is: 2,125", "2,125", "2,125", True),
        ("The answer is: 18 apples", "18", "18 apples", False),
        ("The answer is: 3. No: the answer is 4.", "4", "3. No: the answer is 4", False),
        ("The final answer is 7\n#### 8", "8", "7", False),  # the first kind of marker counts
        ("the answer is: 18", "18", None, False),
        ("18", "18", None, False),
    ],
)
def test_answers_are_graded_as_by_the_benchmark_on_metamathqa(output, gold, answer, right):
    """method_comparison/MetaMathQA/utils.py, 0134244: parse_answer, convert_to_decimal, get_accuracy."""
    graded = answers.grade("gsm8k", output, gold, [NAME])[NAME]
    assert graded == {"answer": answer, "right": right}


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data on this machine")
def test_no_question_has_a_marker_and_its_references_are_right():
    """PEFT parses prompt and answer as one text; without a marker in the question that is the answer's."""
    lines = (SHARED / "data/gsm8k/test_700.jsonl").read_text().splitlines()
    read, right = PEFT.functions()
    for line in map(json.loads, lines):
        assert read("gsm8k", line["question"]) == []
        (found,) = read("gsm8k", line["answer"])
        assert right("gsm8k", found, answers.gold("gsm8k", line["answer"]))
