"""Grading of mathematical answers: each known trap, and answers that are altered, hostile or long."""

import itertools
import re
import time

import pytest

from hra_workflow.tasks.math import answers, expressions, official_grader, sandbox

WAYS = ("strict", "lenient", "official")


def verdicts(output: str, gold: str, style: str = "boxed") -> list[bool]:
    """[strict, lenient, official]"""
    graded = answers.grade(style, output, gold)
    return [graded[way]["right"] for way in WAYS]


def correct(answer: str, gold: str, style: str = "boxed") -> bool:
    """Strict and lenient verdict, which must agree, on an answer given in the trained form."""
    strict, lenient, _ = verdicts(f"Thus it is so. The answer is: {answer}", gold, style)
    assert strict == lenient
    return strict


NUMBERS = {  # a reference answer of GSM8K: the right answers, the wrong ones; others are drawn in test_quantities.py
    "1234567": ([], ["1,234", "1000001"]),
    "0.5": ([".5"], ["5"]),
    "12": (["12.0"], []),
    "1.75": (["3.5/2"], []),
    "5": ([], ["500", r"\boxed{3} or \boxed{5}"]),
    "60": (["60 miles per hour"], []),
}
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
    "1:2:3": (["1 : 2 : 3", "2:4:6"], ["1:2", "1:6:1", "1:2:3:1", "3:2:1", "1:2:x", "-1:2:3"]),
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
    "-5": (["negative 5"], ["5"]),
    r"5{,}000{,}000": ([r"5\text{ million}"], []),
    r"\frac{3}{2}": (["1 1/2"], []),
    "380": ([], ["0,380"]),
    "A": ([], ["A'"]),
    "10_{7}": (["10_7"], ["10_8", "11_7", "10", "7", "107"]),
}


@pytest.mark.parametrize("style", ["gsm8k", "boxed"])
def test_right_answers_are_right_and_wrong_ones_wrong(style):
    for gold, (right, wrong) in {"gsm8k": NUMBERS, "boxed": EXPRESSIONS}[style].items():
        assert [one for one in right if not correct(one, gold, style)] == [], gold
        assert [one for one in wrong if correct(one, gold, style)] == [], gold


def test_where_the_ways_to_grade_differ():
    assert official_grader.answer("gsm8k", "The answer is: 1,234,567") == "1234"
    for answer, gold in (("3.5/2", "7"), ("x/2", "5"), (r"\sqrt", "3"), ("500", "5"), ("0.3", "30"), ("107", "10_7")):
        assert official_grader.right("boxed", answer, gold) and not correct(answer, gold)
    assert verdicts("The answer is: 3.5", "4", "gsm8k") == [False, False, True]  # rounded, on purpose
    # An equation that merely ends in it is so to the lenient reading only.
    assert verdicts("The answer is: y=5", "x=5")[:2] == verdicts("The answer is: 3+4=7", "7")[:2] == [False, True]
    assert verdicts("The answer is: 3+x=7", "10")[:2] == [False, False]
    assert verdicts("The answer is: 42\n\nNow 3+4=7", "7") == [False, False, False]
    # The official code generates with these words as stop strings and never sees the rest.
    assert verdicts("The answer is: 42\n\n### Instruction: And 3+4?", "42") == [False, True, True]
    assert verdicts("By the Instruction, 6 * 7 = 42. The answer is: 42", "42", "gsm8k") == [True, True, False]


MATRICES = [
    [["10"], ["5"]], [["-1/3"], ["2/3"], ["5/3"]], [[r"\frac{\sqrt{3}}{2}"], [r"-\frac{1}{2}"]], [["1", "2", "3"]],
    [["1", "2"], ["3", "4"]], [["x"], ["2y"]], [["1", r"\frac{1}{2}"]], [[r"\pi", "0"], ["0.5", "e"]],
]  # fmt: skip
ROWS, COLUMNS = (r" \\ ", r"\\", "\\\\\n", r"\\\ "), (" & ", "&", " &\n", "&\\ ")


def matrix(rows: list[list[str]], environment: str = "pmatrix", row: str = r" \\ ", column: str = " & ") -> str:
    return rf"\begin{{{environment}}} {row.join(column.join(cells) for cells in rows)} \end{{{environment}}}"


def altered_matrices(rows: list[list[str]]) -> list[str]:
    """Write all matrices with two entries exchanged or one changed, other shapes, a row more or less."""
    places = [(i, j) for i, cells in enumerate(rows) for j in range(len(cells))]
    changed = [{place: "17"} for place in places]
    changed += [{a: rows[b[0]][b[1]], b: rows[a[0]][a[1]]} for a, b in itertools.combinations(places, 2)]
    shapes = [
        [[to.get((i, j), cell) for j, cell in enumerate(cells)] for i, cells in enumerate(rows)] for to in changed
    ]
    cells = [cell for row in rows for cell in row]
    shapes += [[list(column) for column in zip(*rows, strict=True)], [cells], [[cell] for cell in cells]]
    shapes += [rows[:-1], [*rows, rows[-1]], [[f"{cells[0]}{cells[-1]}"]]]
    others = [matrix(shape) for shape in shapes if shape and shape != rows]
    return [*others, f"-{matrix(rows)}", f"2{matrix(rows)}", rf"{matrix(rows)} \\ 0", rf"{matrix(rows)} + 1"]


def test_matrices():
    """The rows stay apart however they are separated, and a matrix with a change anywhere is another one."""
    ways = [("pmatrix", *separators) for separators in zip(ROWS, COLUMNS, strict=True)] + [("bmatrix", r"\\", "&")]
    for rows in MATRICES:
        gold = matrix(rows)
        assert not [text for text in altered_matrices(rows) if expressions.same(text, gold)]
        assert not [way for way in ways if not expressions.same(matrix(rows, *way), gold)]
        assert not expressions.same(matrix(rows, "vmatrix"), gold)  # a determinant


# Parsed as a whole: math-verify is content with the fraction of a vector that it cannot read.
WHOLE = [
    r"\begin{pmatrix} 1 \\ \frac{1}{2} \end{pmatrix}", r"\langle \frac{1}{2}, \frac{1}{3} \rangle", "y=2x+3",
    r"\left( \frac{1}{2}, 3 \right)", r"\frac{1}{2}", r"\{1,2\}", "[0,1)", r"\text{A,C}", r"|\frac{1}{2}\mathbf{i}|",
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
    graded = answers.grade("boxed", "The answer is: 9^{9^{9^{9}}}", "5")
    assert graded["strict"] == {"answer": "9^{9^{9^{9}}}", "right": False, "timeout": True}
    assert verdicts("The answer is: 5", "5") == [True, True, True]


def test_malformed_answers_are_wrong():
    for style in ("gsm8k", "boxed"):
        for answer in ("(" * 100 + "1", r"\frac{" * 300, r"\left(\right", "9" * 5000, "1/" + "0" * 99, "\\"):
            assert not correct(answer, "5", style)


REPEATED = [
    "-", "- ", "1 1 1 ", "1+", "1,111,", r"\text{", r"\boxed{", "three ", "a", "5 a ", r"\(", r"\[", "$", "**a ", " ",
    "so 1 ", "not 1 ", "=", "{", "√", "USD ", "the answer is 1", "<<", r"\frac{1}{2} ", "1'", "minus ", "5 less than ",
]  # fmt: skip


@pytest.mark.parametrize(("style", "form"), [("gsm8k", "7 {} 7"), ("boxed", "The answer is: {}")])
def test_a_long_output_is_read_in_linear_time(style, form):
    """Read a quarter of a megabyte in about 20 ms; in quadratic time, it would take minutes."""
    started = time.process_time()
    for piece in REPEATED:
        output = form.format(piece * (250_000 // len(piece)))
        for reading in answers.lenient_readings(style, output):
            if style == "gsm8k" or len(reading) > 1001:  # Others are compared under sandbox.py's limits.
                answers.right(style, reading, "7")
    assert time.process_time() - started < len(REPEATED)


def test_a_text_much_longer_than_the_reference_is_not_the_answer():
    long = "7" + " apples" * 200
    assert answers.number(long) == 7 and correct(long, long)
    assert verdicts(f"The answer is: {long}", "7", "gsm8k") == [False, True, True]
    assert verdicts("1 " * 10**5 + "7" + " That is it." * 10**5, "7")[:2] == [False, True]


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
    "The answer is: 6 * 7 = 42": "l",
    "So the answer is 42.": "l",
    r"So it is \boxed{42}.": "l",
    "6 * 7 = <<6*7=42>>42\n#### 42": "l",
    "She pays 7 * 6 = $42.": "l",
    "It is 42, or rather 43": "",
    "The answer is: 43\n#### 42": "",
    "The answer is: ": "",
    "": "",
}
PLACES_OF_EXPRESSIONS = {
    r"The answer is: \frac{2}{3}": "slo",
    r"The answer is: $\frac{2}{3}$.": "sl",
    r"The answer is: $\frac{2}{3}$ of the whole. It holds that $1 = 1$.": "l",
    r"The answer is: $x = \frac{1}{3} + \frac{1}{3} = \frac{2}{3}$": "l",
    r"Hence the answer is $\frac{2}{3}$": "l",
    r"Hence $\boxed{\frac{2}{3}}$ is left of $1$.": "l",
    r"Of \(1\) there is \[\frac{2}{3}\] left.": "l",
    "There is 2/3 left": "l",
    r"The answer is: \frac{1}{3}. It is not \boxed{\frac{2}{3}}": "l",
    r"The answer is: \frac{1}{3}": "",
}


def test_where_the_three_ways_look_for_an_answer():
    for style, gold, places in (("gsm8k", "42", PLACES), ("boxed", r"\frac{2}{3}", PLACES_OF_EXPRESSIONS)):
        for output, ways in places.items():
            assert verdicts(output, gold, style) == [way[0] in ways for way in WAYS], output
    graded = answers.grade("gsm8k", "The answer is: 7 of 9", "9")
    assert [graded[way]["answer"] for way in WAYS] == ["7 of 9", "7", "7"]
    assert answers.grade("gsm8k", "No idea", "9") == {way: {"answer": None, "right": False} for way in WAYS}
