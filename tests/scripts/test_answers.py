"""Grading of mathematical answers: where they are looked for, and one test for each known trap."""

import itertools
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hra_workflow.tasks.math import answers, expressions, official_grader, sandbox

WAYS = ("strict", "lenient", "official")


def verdicts(output: str, gold: str, style: str = "boxed") -> list[bool]:
    """[strict, lenient, official]"""
    graded = answers.grade(style, output, gold)
    return [graded[way]["right"] for way in WAYS]


def own(answer: str, gold: str, style: str = "boxed") -> bool:
    """Strict and lenient verdict, which must agree, on an answer given in the trained form."""
    strict, lenient, _ = verdicts(f"Thus it is so. The answer is: {answer}", gold, style)
    assert strict == lenient
    return strict


# Gold answers


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
    assert graded == {way: {"answer": None, "right": False} for way in WAYS}


# Traps


def test_thousands_separators():
    assert own("1,234,567", "1234567", "gsm8k")
    assert own("1234567", "1,234,567", "gsm8k")
    assert own(r"1,\!234,\!567", "1234567")
    assert own("1{,}234", "1,234")
    assert not own("1,234", "1234567", "gsm8k")
    assert not own("1,23", "123", "gsm8k")
    # The official rules read 1,234,567 as 1234, and 1 as good as 100.
    assert official_grader.answer("gsm8k", "The answer is: 1,234,567") == "1234"


def test_decimals_are_exact():
    assert own("3.50", "3.5", "gsm8k")
    assert own(".5", "0.5", "gsm8k")
    assert own("12.0", "12", "gsm8k")
    assert not own("3.5", "4", "gsm8k")
    assert not own("1000001", "1000000", "gsm8k")
    assert not own("0.00000001", "0.00000002")
    assert verdicts("The answer is: 3.5", "4", "gsm8k")[2]  # rounded, on purpose


def test_fractions_of_decimals():
    assert answers.number("3.5/2") == Fraction(7, 4)
    assert own("3.5/2", "1.75", "gsm8k")
    assert own(r"\frac{3.5}{2}", "1.75")
    assert not own("3.5/2", "7")
    assert answers.number("1/0") is None
    # The official normalisation fails on it, and then compares the answer with itself.
    assert official_grader.right("boxed", "3.5/2", "7")
    assert official_grader.right("boxed", "x/2", "5")


def test_root_without_argument():
    assert not own(r"\sqrt", "3")
    assert official_grader.right("boxed", r"\sqrt", "3")


def test_a_factor_of_100_is_wrong():
    for answer, gold in (("5", "500"), ("500", "5"), ("0.3", "30")):
        assert not own(answer, gold, "gsm8k")
        assert not own(answer, gold)
        assert official_grader.right("boxed", answer, gold)


def test_half_in_two_forms():
    assert own("0.5", r"\frac12")
    assert own(r"\frac{1}{2}", "0.5")
    assert own("1/2", r"\dfrac{1}{2}")
    assert own("1.5", r"1\frac12")
    assert own(r"\frac \pi4", r"\frac{\pi}{4}")


def test_a_rounded_value_is_not_the_value():
    assert not own("0.3333333333", r"\frac{1}{3}")
    assert not own("1.41421356237", r"\sqrt{2}")


def test_intervals():
    assert own(r"\left[0, \infty\right)", r"[0,\infty)")
    assert own(r"(-\infty,0)\cup(0,\infty)", r"(-\infty, 0) \cup (0, \infty)")
    assert not own(r"(0,\infty)", r"[0,\infty)")
    assert not own("[1,2]", "(1,2)")
    assert not own(r"[-\infty,0)", r"(-\infty,0)") and not own(r"(0,\infty]", r"(0,\infty)")


def test_sets_have_no_order():
    assert own(r"\{2,1\}", r"\{1,2\}")
    assert own("13, 12, 9, 7", "7,9,12,13")
    assert own(r"3\pm\sqrt{2}", r"3-\sqrt2, 3+\sqrt2")
    assert own("5 or 6", "6,5")
    assert not own(r"\{1,2\}", r"\{1,3\}")
    assert not own("2", "2,-2")


def test_tuples_have_an_order():
    assert own(r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})")
    assert not own("(2,1)", "(1,2)")
    assert not own("2,1", "(1,2)")
    assert not own(r"\{1,2\}", "(1,2)")


VECTOR, RATIONAL, ROOTS = [["10"], ["5"]], [["-1/3"], ["2/3"], ["5/3"]], [[r"\frac{\sqrt{3}}{2}"], [r"-\frac{1}{2}"]]
MATRICES = [
    VECTOR, RATIONAL, ROOTS, [["-18"], ["-49"], ["96"]], [["1", "2", "3"]], [["1", "2"], ["3", "4"]], [["x"], ["2y"]],
    [["0", "0", "1"], ["0", "1", "0"], ["1", "0", "0"]], [["1", r"\frac{1}{2}"]], [[r"\pi", "0"], ["0.5", "e"]],
    [["2", "0", "7"], ["3", "5", "-1"], ["-8", "-2", "4"]], [["2+t"], ["3-t"], ["t"]], [["1", "-4"], ["-5", "7"]],
]  # fmt: skip


ROWS, COLUMNS = (r" \\ ", r"\\", r"\\ ", r" \\", "\\\\\n", r"\\\ "), (" & ", "&", "& ", " &", " &\n", "&\\ ")


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
    right = altered = 0
    for rows in MATRICES:
        gold = matrix(rows)
        assert not [text for text in altered_matrices(rows) if expressions.same(text, gold)]
        assert not [way for way in ways if not expressions.same(matrix(rows, *way), gold)]
        assert not expressions.same(matrix(rows, "vmatrix"), gold)  # a determinant
        right, altered = right + len(ways), altered + len(altered_matrices(rows))
    assert (right, altered) == (91, 257)
    assert own(matrix(VECTOR, row=r"\\"), matrix(VECTOR)) and not own(matrix(VECTOR[::-1]), matrix(VECTOR))


def test_ratios():
    assert own("3:4", r"\frac{3}{4}") and own("1 : 2 : 3", "1:2:3") and own("2:4:6", "1:2:3")
    for answer in ("1:2", "1:6:1", "1:2:3:1", "3:2:1", "1:2:x", "-1:2:3"):
        assert not own(answer, "1:2:3")
    assert not own("1:2:1", "1:2")


def test_complex_numbers():
    for answer in ("5-8i", "5-8 i", r"-8\cdot i+5", r"\frac{10-16i}{2}"):
        assert own(answer, "5-8i") and own(answer, "5 - 8 i")
    for answer in ("5+8i", "8-5i", "5-8", "5-8x", "(5,-8)"):
        assert not own(answer, "5-8i")


def test_text_answers():
    assert own("Evelyn", r"\text{Evelyn}")
    assert own(r"\text{(B)}", r"\text{B}")
    assert not own(r"\text{Evelin}", r"\text{Evelyn}")
    assert not own("listen", r"\text{silent}")
    assert not own(r"\text{June 21}", r"\text{June 20}")


def test_degrees():
    assert own("30", r"30^\circ")
    assert own(r"30^{\circ}", "30 degrees")
    assert not own("31", r"30^\circ")


def test_units():
    assert own("5 inches", r"5\text{ inches}")
    assert own(r"5 \text{ cm}^2", "5")
    assert own(r"6\pi\mbox{ cm}", r"6\pi")
    assert own("60 miles per hour", "60", "gsm8k")
    assert own("12 km/h", "12", "gsm8k")
    assert not own("6 inches", r"5\text{ inches}")
    # No units: letters of a formula, and words that change the value.
    assert not own("5x", "5")
    assert not own("2m", "2")
    for answer in ("5 dozen", "5 million", "5 and a half", "5 squared", r"5\text{ million}"):
        assert not own(answer, "5")
        assert verdicts(f"The answer is: {answer}", "5", "gsm8k")[0] is False


def test_percent():
    assert own(r"50\%", "50")
    assert own("50 percent", r"50\%")
    assert own("50%", "50", "gsm8k")
    assert not own("0.5", r"50\%")


def test_dollars():
    assert own(r"\$15,\!000", "15000")
    assert own("$1,234.50", "1234.5", "gsm8k")
    assert own("-$5", "-5", "gsm8k")
    assert own("$5$", "5")
    assert not own("$5", "-5", "gsm8k")


def test_a_named_value_is_the_value():
    assert own("x=5", "5")
    assert own("5", "x = 5")
    assert own("f(x) = 2x+3", "3+2x")
    assert not own("x=6", "5")
    # An equation that merely ends in it is so to the lenient reading only.
    assert verdicts("The answer is: y=5", "x=5")[:2] == [False, True]
    assert verdicts("The answer is: 3+4=7", "7")[:2] == [False, True]
    assert verdicts("The answer is: 3+x=7", "10")[:2] == [False, False]
    assert own("x^2+y^2-4=0", "x^2+y^2=4")


# Parsed as a whole: math-verify is content with the fraction of a vector that it cannot read.
WHOLE = [
    r"\begin{pmatrix} 1 \\ \frac{1}{2} \end{pmatrix}", r"\langle \frac{1}{2}, \frac{1}{3} \rangle", "y=2x+3", "x=5",
    r"\left( \frac{1}{2}, 3 \right)", "x^2+y^2=4", "x^2+1", r"\frac{1}{2}", r"\{1,2\}", "[0,1)", "1,2", r"\text{A,C}",
    r"|\frac{1}{2}\mathbf{i}|",
]  # fmt: skip
ALTERED = ["{0}+1", "1+{0}", "{0}-1", "{0} {0}", "{0}, {0}", r"{0} \text{{ and }} {0}", "{0} or {0}", "{0}={0}"]
ALTERED += [
    "{0}{0}",
    r"{0}\\{0}",
    "{0}. 7",
    "{0}, 7",
    "{0}_2",
    r"\neq {0}",
    r"\ge {0}",
    r"{0}\approx 7",
    r"{0}, \ldots",
]


@pytest.mark.parametrize("gold", WHOLE)
def test_an_answer_is_the_whole_reference_once(gold):
    assert answers.right("boxed", "own", gold, gold) and answers.right("boxed", "own", f"${gold}$.", gold)
    assert not [form for form in ALTERED if answers.right("boxed", "own", form.format(gold), gold)]


def test_a_list_has_as_many_members_as_the_reference():
    assert own("2, 2", "2,2") and own("x=1, y=2", "x=1,y=2")
    assert own("x=2, x=-3", "-3,2") and own("x = 2 or x = -3", "-3,2") and own("2,-3", "x=-3,x=2")
    assert not own("x=2, y=-3", "-3,2") and not own("x=2, x=3", "-3,2") and not own("not 2, -3", "-3,2")
    for answer, gold in (
        ("2", "2,2"),
        ("2,2", "2"),
        ("5, 5.0", "5"),
        (r"\frac12, 0.5", "0.5"),
        (r"\{1,1,2\}", r"\{1,2\}"),
    ):
        assert not answers.right("boxed", "own", answer, gold)


def test_words_in_a_list():
    for answer in ("A,C,F", "A, C, F", "F, A and C", r"\text{A, C, F}", r"\text{A and C and F}"):
        assert own(answer, r"\text{A,C,F}")
    assert own(r"\text{A,C,F}", "A,C,F")
    for answer in ("A,C", "A,C,F,F", "A,C,G", "ACF", r"\text{A,C,D}"):
        assert not own(answer, r"\text{A,C,F}")


def test_a_named_set_or_vector_is_that_set_or_vector():
    assert own(r"x \in [1,2]", "[1,2]")
    assert own(r"\langle 1,2 \rangle", r"\langle 1, 2\rangle")
    assert not own(r"\langle 1,3 \rangle", r"\langle 1, 2\rangle")


def test_signs_scales_and_mixed_numbers_in_expressions():
    assert own("negative 5", "-5") and not own("negative 5", "5")
    assert own(r"5\text{ million}", r"5{,}000{,}000") and own("1 1/2", r"\frac{3}{2}")
    assert own(r"18^\circ C", "18") and own("¥18", "18") and own(r"60\text{ mph}", "60")
    assert not own("0,380", "380") and not own("0,380", "0.380")
    assert not own("A'", "A")


def test_base_of_a_number():
    assert own("10_7", "10_{7}")
    assert own("1A_{16}", "1A_{16}")
    for answer in ("10_8", "11_7", "10", "7", "107"):
        assert not own(answer, "10_{7}")
    assert official_grader.right("boxed", "107", "10_7")  # Python reads the underscore as a thousands separator.


@pytest.mark.parametrize("answer, way", [("9^{9^{9^{9}}}", "strict"), ("9**9**9**9", "official")])
def test_a_hanging_simplification_is_wrong_and_marked(monkeypatch, answer, way):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    graded = answers.grade("boxed", f"The answer is: {answer}", "5")
    assert graded[way] == {"answer": answer, "right": False, "timeout": True}
    assert verdicts("The answer is: 5", "5") == [True, True, True]


@pytest.mark.parametrize(
    "answer", ["(" * 100 + "1", r"\frac{" * 300, r"\left(\right", "9" * 5000, "1/" + "0" * 99, "\\"]
)
@pytest.mark.parametrize("style", ["gsm8k", "boxed"])
def test_malformed_answers_are_wrong(style, answer):
    assert not own(answer, "5", style)
    assert answers.grade(style, f"The answer is: {answer}", "5")["official"]["answer"] != "5"


def test_two_boxes_are_two_answers():
    assert own(r"\boxed{5}", "5", "gsm8k") and own(r"$\boxed{\frac{\sqrt{3}}{2}}$.", r"\frac{\sqrt{3}}{2}")
    for gold in ("3", "5", "35", "2"):
        for answer in (r"\boxed{3} or \boxed{5}", r"\boxed{3}, \boxed{5}", r"\boxed{3}\boxed{5}"):
            assert not verdicts(f"The answer is: {answer}", gold, "gsm8k")[0]
            assert not verdicts(f"The answer is: {answer}", gold)[0]
        assert not verdicts(r"The answer is: \boxed{3} or \boxed{5}", gold, "gsm8k")[1]


# Length

REPEATED = [
    "-",
    "- ",
    "1 1 1 ",
    "1+",
    "1,111,",
    r"\text{",
    r"\boxed{",
    "three ",
    "a",
    "5 a ",
    r"\(",
    r"\[",
    "$",
    "**a ",
    "so 1 ",
]
REPEATED += [
    "not 1 ",
    "=",
    "{",
    "√",
    "USD ",
    "the answer is 1",
    "<<",
    r"\frac{1}{2} ",
    " ",
    "1'",
    "minus ",
    "5 less than ",
]


@pytest.mark.parametrize("style", ["gsm8k", "boxed"])
@pytest.mark.parametrize("form", ["{}", "The answer is: {}", "7 {} 7"])
def test_a_long_output_is_read_in_linear_time(style, form):
    """Read a quarter of a megabyte in about 20 ms; in quadratic time, it would take minutes."""
    started = time.process_time()
    for piece in REPEATED:
        output = form.format(piece * (250_000 // len(piece)))
        for reading in answers.lenient_readings(style, output):
            if style == "gsm8k" or len(reading) > 1001:  # Others are compared under sandbox.py's limits.
                answers.right(style, "own", reading, "7")
    assert time.process_time() - started < len(REPEATED)


def test_a_text_much_longer_than_the_reference_is_not_the_answer():
    long = "7" + " apples" * 200
    assert answers.number(long) == 7
    assert verdicts(f"The answer is: {long}", "7", "gsm8k") == [False, True, True]
    assert own(long, long)
    assert verdicts("So it is 7." + " That is it." * 10**5, "7", "gsm8k") == [False, True, False]
    assert verdicts("1 " * 10**5 + "7" + " That is it." * 10**5, "7")[:2] == [False, True]


def test_stop_words_in_an_answer():
    assert own(r"\text{Response}", r"\text{Response}")
    assert own("42", "42", "gsm8k")
    output = "By the Instruction, 6 * 7 = 42. The answer is: 42"
    # The official code generates with these words as stop strings and never sees the rest.
    assert verdicts(output, "42", "gsm8k") == [True, True, False]


def test_prose_after_the_answer_is_not_strict():
    assert verdicts("The answer is: 42\n\nNow 3+4=7", "7") == [False, False, False]
    assert verdicts("The answer is: 42\n\n### Instruction: And 3+4?", "42") == [False, True, True]


@given(st.fractions(max_denominator=10**6), st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_numbers_are_read_back_exactly(value, zeros):
    assert answers.number(f"{value.numerator}/{value.denominator}") == value
    size = abs(value.numerator)
    assert answers.number(f"-${size:,}.{'0' * zeros}5") == -size - Fraction(5, 10 ** (zeros + 1))
