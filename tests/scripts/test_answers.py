"""Grading of mathematical answers: each known trap, and answers that are altered, hostile or long."""

import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from hra_workflow.tasks.math import answers, graders, official_grader, sandbox

WAYS = ("strict", "lenient", "official")


def verdicts(output: str, gold: str, style: str = "boxed") -> list[bool]:
    """[strict, lenient, official]"""
    graded = answers.grade(style, output, gold)
    return [graded[way]["right"] for way in WAYS]


def correct(answer: str, gold: str, style: str = "boxed") -> bool:
    """Strict verdict on an answer given in the trained form."""
    return verdicts(f"Thus it is so. The answer is: {answer}", gold, style)[0]


NUMBERS = {  # the value of a text in the style of GSM8K
    1234567: ["1,234,567", "$1,234,567.00"],
    18: ["18", "18.", "$18", r"\$18.00", "18%", "18 €", "$18$", r"\(18\)", r"\boxed{18}", "36/2", "+18"],
    Fraction(-3, 4): ["-3/4", "-.75", "-$0.75", "$-0.75"],
    None: ["18-20", "18 or 20", "18 apples", "10^3", "1.8e1", "18 3/4", "--18", "five", "", "-", "1/0", "9" * 5000],
}  # fmt: skip


def test_the_value_of_a_number():
    assert [text for value in NUMBERS for text in NUMBERS[value] if answers.number(text) != value] == []


EXPRESSIONS = {  # a reference answer of MATH: right answers, wrong ones
    "5": (["$5$", "x=5", "5."], ["5x", "x=6", "-5"]),
    r"\frac12": (["0.5", r"$\dfrac{1}{2}$", r"\boxed{\frac{2}{4}}"], ["0.2"]),
    r"[0,\infty)": ([r"\left[0, \infty\right)"], [r"(0,\infty)"]),
    "(1,2)": ([], ["(2,1)", "[1,2]"]),
    r"\{1,2\}": ([r"\{2,1\}"], [r"\{1,3\}"]),
    r"\text{Evelyn}": (["Evelyn"], [r"\text{Evelin}"]),
    r"30^\circ": (["30"], ["31"]),
    r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}": ([], [r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"]),
}  # fmt: skip


def test_an_answer_in_the_trained_form_is_compared_by_math_verify():
    for gold, (right, wrong) in EXPRESSIONS.items():
        assert [one for one in right if not answers.right("boxed", one, gold)] == [], gold
        assert [one for one in wrong if answers.right("boxed", one, gold)] == [], gold


def test_where_the_ways_to_grade_differ():
    assert official_grader.answer("gsm8k", "The answer is: 1,234,567") == "1234"
    for answer, gold in (("3.5/2", "7"), ("x/2", "5"), (r"\sqrt", "3"), ("500", "5"), ("0.3", "30")):
        assert official_grader.right("boxed", answer, gold) and not correct(answer, gold)
    assert verdicts("The answer is: 3.5", "4", "gsm8k") == [False, False, True]  # rounded, on purpose
    assert verdicts("The answer is: 18.00", "18", "gsm8k") == [True, False, True]  # lm-eval compares texts
    # The official code generates with these words as stop strings and never sees the rest.
    assert verdicts("The answer is: 42\n\n### Instruction: And 3+4?", "42", "gsm8k") == [False, False, True]
    assert verdicts("By the Instruction, 6 * 7 = 42. The answer is: 42", "42", "gsm8k") == [True, True, False]


TAILS = [
    "", "18", "18.", "$18.00", "- 18", "18 apples", "1,042", "$1,042.", ".5", "$ 5", "18, 19, ...", "3/18", "18%",
    r"\boxed{18}", "18\n#### 18", "--18", "$", "..", "$.", ",", "1.8e1", "１８", "٣", "eighteen",
]  # fmt: skip


@pytest.mark.parametrize("gold", ["18", "-18", "1,042", "$18", "18."])
def test_lenient_is_lm_evals_flexible_extract_of_gsm8k(gold):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.filters.extraction import RegexFilter

    task = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml").read_text())
    ((extract, first),) = [entry["filter"] for entry in task["filter_list"] if entry["name"] == "flexible-extract"]
    ((metric),) = task["metric_list"]
    settings = {name: metric[name] for name in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
    outputs = [form.format(tail) for tail in TAILS for form in ("{}", "6 * 3 = 7. The answer is: {}", "It is {} or so")]
    found = RegexFilter(extract["regex_pattern"], extract["group_select"]).apply([outputs], [{}])[0]
    one = {"references": [f"Work.\n#### {gold}"]} | settings
    expected = [bool(exact_match_fn(predictions=[text], **one)["exact_match"]) for text in found]
    assert [answers.grade("gsm8k", output, gold)["lenient"]["right"] for output in outputs] == expected
    assert any(expected) and first == {"function": "take_first"}


def test_a_hanging_simplification_is_wrong_and_marked(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    monkeypatch.setattr(graders, "GRADERS", {"strict": graders.GRADERS["strict"]})
    graded = answers.grade("boxed", "The answer is: 9^{9^{9^{9}}}", "5")
    assert graded["strict"] == {"answer": "9^{9^{9^{9}}}", "right": False, "timeout": True}
    assert answers.grade("boxed", "The answer is: 5", "5")["strict"]["right"]


def test_malformed_answers_are_wrong():
    for style in ("gsm8k", "boxed"):
        for answer in ("(" * 100 + "1", r"\frac{" * 300, r"\left(\right", "1/" + "0" * 99, "\\"):
            assert not correct(answer, "5", style)


@pytest.mark.parametrize("piece", ["-", "1 1 1 ", "1,111,", "$", "5 a ", "#### "])
def test_a_long_output_is_read_in_linear_time(piece):
    """Read a quarter of a megabyte in about 20 ms; in quadratic time, it would take minutes."""
    started = time.process_time()
    verdicts(f"7 {piece * (250_000 // len(piece))} 7", "7", "gsm8k")
    assert time.process_time() - started < 1


def test_a_text_much_longer_than_the_reference_is_not_the_answer():
    assert correct(f"{'0' * 1000}7", "7", "gsm8k") and not correct(f"{'0' * 1001}7", "7", "gsm8k")


# Where the final answer is looked for


def test_gold_answers_of_each_style():
    assert answers.gold("gsm8k", "She has <<2+40=42>>42.\n#### 1,042") == "1,042"
    assert answers.gold("boxed", r"First \boxed{1}, then $\boxed{\frac{1}{\sqrt{2}}}$.") == r"\frac{1}{\sqrt{2}}"
    assert answers.gold("boxed", r"$\boxed 7$ it is") == "7"
    assert answers.gold("metamath", "The answer is: 1. No, wait.\nThe answer is: 42") == "42"
    rows = [("gsm8k", "#### many"), ("boxed", r"\boxed{\frac{1}{2}"), ("boxed", r"\boxed{}")]
    for style, text in [*rows, ("metamath", "The answer is: ")]:
        with pytest.raises(ValueError, match=re.escape(text)):
            answers.gold(style, text)


PLACES = {  # an output, and which of the three ways find the answer
    "The answer is: 42": "slo",
    "The answer is: 41. No.\nThe answer is: 42.": "slo",
    "The answer is: 42 apples": "lo",
    "The answer is: 42 since 6 * 7 = 42": "lo",
    "The answer is: 42. It has 2 digits.": "o",
    "The answer is: 6 * 7 = 42": "l",
    "So the answer is 42.": "l",
    r"So it is \boxed{42}.": "l",
    "6 * 7 = <<6*7=42>>42\n#### 42": "l",
    "She pays 7 * 6 = $42.": "l",
    "It is 42, or rather 43": "",
    "The answer is: ": "",
    "": "",
}
PLACES_OF_EXPRESSIONS = {
    r"The answer is: \frac{2}{3}": "slo",
    r"The answer is: $\frac{2}{3}$.": "sl",
    r"The answer is: $x = \frac{1}{3} + \frac{1}{3} = \frac{2}{3}$": "sl",
    r"Hence the answer is $\frac{2}{3}$": "l",
    r"Hence $\boxed{\frac{2}{3}}$ is left of $1$.": "l",
    r"Of \(1\) there is \[\frac{2}{3}\] left.": "l",
    "There is 2/3 left": "l",
    r"The answer is: nothing. It is \boxed{\frac{2}{3}}": "l",
    r"The answer is: \frac{1}{3}": "",
    "": "",
}


def test_where_the_three_ways_look_for_an_answer():
    for style, gold, places in (("gsm8k", "42", PLACES), ("boxed", r"\frac{2}{3}", PLACES_OF_EXPRESSIONS)):
        for output, ways in places.items():
            assert verdicts(output, gold, style) == [way[0] in ways for way in WAYS], output
    graded = answers.grade("gsm8k", "The answer is: 7 of 9", "9")
    assert [graded[way]["answer"] for way in WAYS] == ["7 of 9", "9", "7"]
    assert answers.grade("gsm8k", "No idea", "9") == {way: {"answer": None, "right": False} for way in WAYS}
