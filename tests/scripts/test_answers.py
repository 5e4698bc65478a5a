"""Grading of mathematical answers: each known trap, and answers that are altered, hostile or long."""

import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from hra_workflow.tasks.math import answers, expressions, graders, official_grader, sandbox

WAYS = ("strict", "lenient", "official")


def verdicts(output: str, gold: str, style: str = "boxed") -> list[bool]:
    """[strict, lenient, official]"""
    graded = answers.grade(style, output, gold)
    return [graded[way]["right"] for way in WAYS]


def correct(answer: str, gold: str, style: str = "boxed") -> bool:
    """Strict verdict on an answer given in the trained form."""
    return verdicts(f"Thus it is so. The answer is: {answer}", gold, style)[0]


NUMBERS = {  # the value of a text in the style of GSM8K
    1234567: ["1,234,567", "$1,234,567.00", r"1{,}234{,}567", r"1,\!234,\!567"],
    18: [
        "18", "18.", "$18", "$18.00", r"\$18", "18%", r"18\%", "€18", "18 €", "18°C", r"18^\circ", r"$18^{\circ}$",
        "18 apples", "18g", "18 s", "18-inch", "18 p.m.", "18 m^2", "18 km/h", r"18\text{ cm}", r"\boxed{18}", "36/2",
        "18 miles per hour", r"\(18\)", r"\text{18}", "+18",
    ],
    Fraction(3, 4): ["3/4", "$.75", "0.750", r"\frac{3}{4}", r"\frac34", r"\dfrac{3}{4} of it", "1.5/2", "3 / 4 cup"],
    Fraction(-3, 4): ["-3/4", "−.75", "- 0.75", "-$0.75", "$-0.75", r"-\frac{3}{4}", r"\frac{-3}{4}", r"\frac{−3}{4}"],
}  # fmt: skip
NO_NUMBERS = [
    "18-20", "18 to 20", "18 or 20", "18 and 20", "18%-20%", "18 dollars and 50 cents", "18 and a half", r"18 \times 3",
    "18x3", "18*3", "10^3", "18(3)", "1.8e1", r"\sqrt{18}", "±18", "x-18", "(a + b)/18", "half of 18", "5:30", "18:00",
    "18!", "1,18", "0,380", "1234,567", "18 less than 20", "18 mod 5", "18 feet 6 inches", "18'06", "18 3/4", "18_7",
    "1 000", "twenty 18", "--18", "-$-18", "negative 18", "minus 18", "18 negative", "18 below zero", "18° below zero",
    "18 less than zero", "$18m", "$18 b", "18°30", "5$3", "five", "x", "", "-", "1/0", "9" * 5000, "18 of 20",
]  # fmt: skip
NUMBER_WORDS = (
    "hundred thousand million billion zillion dozen dozens grand lakh crore halves thirds eighths tenths hundredths "
    "thousandths twentieths millionths half quarter score gross k K M B bn mil mio Mrd milliards Millionen th st first "
    "tenth hundredth fivefold tenfold seven fifty forty-two squared cubed π pi twice double factorial x million's"
)


def test_the_value_of_a_number():
    assert [text for value in NUMBERS for text in NUMBERS[value] if answers.number(text) != value] == []
    assert [text for text in NO_NUMBERS if answers.number(text) is not None] == []


def test_a_number_word_is_no_unit():
    forms = ("18 {}", "18{}", r"18\text{{ {}}}", "18 {} dollars")
    texts = [form.format(word) for word in NUMBER_WORDS.split() for form in forms]
    assert [text for text in texts if answers.number(text) is not None or expressions.same(text, "18")] == []


EXPRESSIONS = {  # a reference answer of MATH: the right answers, the wrong ones
    "1234567": ([r"1,\!234,\!567"], []),
    "0.00000002": ([], ["0.00000001"]),
    "3": ([], [r"\boxed{3}, \boxed{5}", r"\boxed{3}\boxed{5}"]),
    "5": (["$5$", "x=5"], ["5x", "x=6", "5 dozen", r"5\text{ million}"]),
    r"\frac12": (["0.5"], []),
    "0.5": ([r"\frac{1}{2}"], [r"\frac12, 0.5"]),
    r"\frac{\pi}{4}": ([r"\frac \pi4"], []),
    r"1\frac12": (["1.5"], []),
    r"\frac{1}{3}": ([], ["0.3333333333"]),
    r"\sqrt{2}": ([], ["1.41421356237"]),
    r"[0,\infty)": ([r"\left[0, \infty\right)", r"x \in [0,\infty)"], [r"(0,\infty)", r"[0,\infty]"]),
    "(1,2)": ([], ["[1,2]", "(2,1)", "2,1", r"\{1,2\}"]),
    r"\{1,2\}": ([r"\{2,1\}"], [r"\{1,3\}", r"\{1,1,2\}"]),
    "7,9,12,13": (["13, 12, 9, 7"], []),
    r"3-\sqrt2, 3+\sqrt2": ([r"3\pm\sqrt{2}"], []),
    "-3,2": (["x=2, x=-3", "x = 2 or x = -3"], ["x=2, y=-3", "x=2, x=3", "not 2, -3"]),
    "2,2": (["2, 2"], ["2"]),
    r"\langle 1, 2\rangle": ([r"\langle 1,2 \rangle"], [r"\langle 1,3 \rangle"]),
    "1:2:3": (["1 : 2 : 3", "2:4:6"], ["1:2", "1:6:1", "1:2:3:0", "3:2:1", "1:2:x", "-1:2:3"]),
    r"\frac{3}{4}": (["3:4"], []),
    "5-8i": (["5-8 i", r"-8\cdot i+5", r"\frac{10-16i}{2}"], ["5+8i", "8-5i", "5-8", "5-8x", "(5,-8)"]),
    r"\text{Evelyn}": (["Evelyn"], [r"\text{Evelin}"]),
    r"\text{silent}": ([], ["listen"]),
    r"\text{A,C,F}": (["F, A and C", r"\text{A, C, F}", r"\text{A and C and F}"], ["A,C", "A,C,F,F", "A,C,G", "ACF"]),
    r"30^\circ": (["30"], ["31"]),
    r"5\text{ inches}": (["5 inches"], ["6 inches"]),
    r"50\%": (["50 percent"], ["0.5"]),
    "15000": ([r"\$15,\!000"], []),
    "3+2x": (["f(x) = 2x+3"], []),
    "x^2+y^2=4": (["x^2+y^2-4=0"], []),
    "-5": ([], ["5", "negative 5"]),
    r"\frac{3}{2}": ([r"1\frac12"], []),
    "380": ([], ["0,380"]),
    "A": ([], ["A'"]),
    "10_{7}": (["10_7"], ["10_8", "11_7", "10", "7", "107"]),
    # The rows of a matrix stay apart however they are separated.
    r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}": (
        ["\\begin{pmatrix}-1/3\\\\\n2/3\\end{pmatrix}", r"\begin{bmatrix} -1/3 \\\ 2/3 \end{bmatrix}"],
        [
            r"\begin{vmatrix} -1/3 \\ 2/3 \end{vmatrix}", r"\begin{pmatrix} 2/3 \\ -1/3 \end{pmatrix}",
            r"\begin{pmatrix} -1/3 & 2/3 \end{pmatrix}", r"\begin{pmatrix} -1/3 \\ 2/3 \\ 2/3 \end{pmatrix}",
            r"2\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix} + 1",
        ],
    ),
    r"\begin{pmatrix} 1 & \frac{1}{2} \\ \pi & 2y \end{pmatrix}": (
        [r"\begin{pmatrix}1&\frac{1}{2}\\\pi&2y\end{pmatrix}"],
        [r"\begin{pmatrix} 1 & \pi \\ \frac{1}{2} & 2y \end{pmatrix}"],
    ),
}  # fmt: skip


def test_equal_expressions_are_correct_and_others_incorrect():
    for gold, (right, wrong) in EXPRESSIONS.items():
        assert [one for one in right if not expressions.same(one, gold)] == [], gold
        assert [one for one in wrong if expressions.same(one, gold)] == [], gold


def test_where_the_ways_to_grade_differ():
    assert official_grader.answer("gsm8k", "The answer is: 1,234,567") == "1234"
    for answer, gold in (("3.5/2", "7"), ("x/2", "5"), (r"\sqrt", "3"), ("500", "5"), ("0.3", "30"), ("107", "10_7")):
        assert official_grader.right("boxed", answer, gold) and not correct(answer, gold)
    assert verdicts("The answer is: 3.5", "4", "gsm8k") == [False, False, True]  # rounded, on purpose
    assert verdicts("The answer is: 18.00", "18", "gsm8k") == [True, False, True]  # lm-eval compares texts
    assert verdicts("The answer is: 0.3333333333", r"\frac{1}{3}")[:2] == [False, True]  # math-verify rounds
    assert verdicts("The answer is: y=5", "x=5")[:2] == verdicts("The answer is: 3+4=7", "7")[:2] == [False, True]
    assert verdicts("The answer is: 3+x=7", "10")[:2] == [False, False]
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


# Parsed as a whole: math-verify is content with the fraction of a vector that it cannot read.
WHOLE = [
    r"\begin{pmatrix} 1 \\ \frac{1}{2} \end{pmatrix}", r"\langle \frac{1}{2}, \frac{1}{3} \rangle", "y=2x+3",
    r"\frac{1}{2}", r"\{1,2\}", r"\text{A,C}", r"|\frac{1}{2}\mathbf{i}|",
]  # fmt: skip
ALTERED = [
    "{0}+1", "1+{0}", "{0} {0}", "{0}, {0}", r"{0} \text{{ and }} {0}", "{0} or {0}", "{0}={0}", r"{0}\\{0}", "{0}. 7",
    "{0}, 7", "{0}_2", r"\neq {0}", r"\ge {0}", r"{0}\approx 7", r"{0}, \ldots",
]  # fmt: skip


@pytest.mark.parametrize("gold", WHOLE)
def test_an_answer_is_the_whole_reference_once(gold):
    assert answers.right("boxed", gold, gold) and answers.right("boxed", f"${gold}$.", gold)
    assert not [form for form in ALTERED if answers.right("boxed", form.format(gold), gold)]


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
    long = "7" + " apples" * 200
    assert answers.number(long) == 7 and correct(long, long)
    assert verdicts(f"The answer is: {long}", "7", "gsm8k") == [False, True, True]


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
    "The answer is: 42 apples": "slo",
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
    r"The answer is: $x = \frac{1}{3} + \frac{1}{3} = \frac{2}{3}$": "l",
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
