"""Where the final answer is looked for."""

import re

import pytest

from graded import WAYS, verdicts
from hra_workflow.tasks.math import answers, graders


def test_gold_answers_of_each_style():
    assert answers.gold("gsm8k", "She has <<2+40=42>>42.\n#### 1,042") == "1,042"
    assert answers.gold("gsm8k", "#### <<5+2=7>>7") == "7"
    assert answers.gold("boxed", r"First \boxed{1}, then $\boxed{\frac{1}{\sqrt{2}}}$.") == r"\frac{1}{\sqrt{2}}"
    assert answers.gold("boxed", r"$\boxed 7$ it is") == "7"
    assert answers.gold("metamath", "The answer is: 1. No, wait.\nThe answer is: 42") == "42"


@pytest.mark.parametrize(
    "style, text",
    [
        ("gsm8k", "She has 42."),
        ("gsm8k", "#### many"),
        ("boxed", "It is 42."),
        ("boxed", r"\boxed{\frac{1}{2}"),
        ("boxed", r"\boxed{}"),
        ("metamath", "It is 42."),
        ("metamath", "The answer is: "),
    ],
)
def test_a_row_without_a_final_answer_is_named(style, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        answers.gold(style, text)


# Extraction


@pytest.mark.parametrize(
    "output, expected",
    [
        ("The answer is: 42", [True, True, True]),
        ("The answer is: 41. No.\nThe answer is: 42.", [True, True, True]),
        ("The answer is: 42 apples", [True, True, True]),
        ("The answer is: 42 since 6 * 7 = 42", [False, True, True]),
        ("The answer is: 6 * 7 = 42", [False, True, False]),
        ("So the answer is 42.", [False, True, False]),
        (r"So it is \boxed{42}.", [False, True, False]),
        ("6 * 7 = <<6*7=42>>42\n#### 42", [False, True, False]),
        ("She pays 7 * 6 = $42.", [False, True, False]),
        ("It is 42, or rather 43", [False, False, False]),
        ("The answer is: 43\n#### 42", [False, False, False]),
        ("The answer is: ", [False, False, False]),
        ("", [False, False, False]),
    ],
)
def test_where_the_three_ways_look_for_a_number(output, expected):
    assert verdicts(output, "42", "gsm8k") == expected


@pytest.mark.parametrize(
    "output, expected",
    [
        (r"The answer is: \frac{2}{3}", [True, True, True]),
        (r"The answer is: $\frac{2}{3}$.", [True, True, False]),
        (r"The answer is: $\frac{2}{3}$ of the whole. It holds that $1 = 1$.", [False, True, False]),
        (r"The answer is: $x = \frac{1}{3} + \frac{1}{3} = \frac{2}{3}$", [False, True, False]),
        (r"Hence the answer is $\frac{2}{3}$", [False, True, False]),
        (r"Hence $\boxed{\frac{2}{3}}$ is left of $1$.", [False, True, False]),
        (r"Of $1$ there is $\frac{2}{3}$ left.", [False, True, False]),
        (r"Of \(1\) there is \[\frac{2}{3}\] left.", [False, True, False]),
        ("There is 2/3 left", [False, True, False]),
        (r"The answer is: \frac{1}{3}. It is not \boxed{\frac{2}{3}}", [False, True, False]),
        (r"The answer is: \frac{1}{3}", [False, False, False]),
    ],
)
def test_where_the_three_ways_look_for_an_expression(output, expected):
    assert verdicts(output, r"\frac{2}{3}") == expected


def test_the_extracted_answer_is_kept():
    graded = answers.grade("gsm8k", "The answer is: 7 of 9", "9")
    assert [graded[way]["answer"] for way in WAYS] == ["7 of 9", "7", "7"]
    graded = answers.grade("gsm8k", "No idea", "9")
    assert graded == {way: {"answer": None, "right": False} for way in graders.GRADERS}
