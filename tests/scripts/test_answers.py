"""Grading of mathematical answers: one test for each known trap."""

import itertools
from fractions import Fraction

from graded import correct, verdicts
from hra_workflow.tasks.math import answers, expressions, official_grader


def test_thousands_separators():
    assert correct("1,234,567", "1234567", "gsm8k")
    assert correct("1234567", "1,234,567", "gsm8k")
    assert correct(r"1,\!234,\!567", "1234567")
    assert correct("1{,}234", "1,234")
    assert not correct("1,234", "1234567", "gsm8k")
    assert not correct("1,23", "123", "gsm8k")
    # The official rules read 1,234,567 as 1234, and 1 as good as 100.
    assert official_grader.answer("gsm8k", "The answer is: 1,234,567") == "1234"


def test_decimals_are_exact():
    assert correct("3.50", "3.5", "gsm8k")
    assert correct(".5", "0.5", "gsm8k")
    assert correct("12.0", "12", "gsm8k")
    assert not correct("3.5", "4", "gsm8k")
    assert not correct("1000001", "1000000", "gsm8k")
    assert not correct("0.00000001", "0.00000002")
    assert verdicts("The answer is: 3.5", "4", "gsm8k")[2]  # rounded, on purpose


def test_fractions_of_decimals():
    assert answers.number("3.5/2") == Fraction(7, 4)
    assert correct("3.5/2", "1.75", "gsm8k")
    assert correct(r"\frac{3.5}{2}", "1.75")
    assert not correct("3.5/2", "7")
    assert answers.number("1/0") is None
    # The official normalisation fails on it, and then compares the answer with itself.
    assert official_grader.right("boxed", "3.5/2", "7")
    assert official_grader.right("boxed", "x/2", "5")


def test_root_without_argument():
    assert not correct(r"\sqrt", "3")
    assert official_grader.right("boxed", r"\sqrt", "3")


def test_a_factor_of_100_is_wrong():
    for answer, gold in (("5", "500"), ("500", "5"), ("0.3", "30")):
        assert not correct(answer, gold, "gsm8k")
        assert not correct(answer, gold)
        assert official_grader.right("boxed", answer, gold)


def test_half_in_two_forms():
    assert correct("0.5", r"\frac12")
    assert correct(r"\frac{1}{2}", "0.5")
    assert correct("1/2", r"\dfrac{1}{2}")
    assert correct("1.5", r"1\frac12")
    assert correct(r"\frac \pi4", r"\frac{\pi}{4}")


def test_a_rounded_value_is_not_the_value():
    assert not correct("0.3333333333", r"\frac{1}{3}")
    assert not correct("1.41421356237", r"\sqrt{2}")


def test_intervals():
    assert correct(r"\left[0, \infty\right)", r"[0,\infty)")
    assert correct(r"(-\infty,0)\cup(0,\infty)", r"(-\infty, 0) \cup (0, \infty)")
    assert not correct(r"(0,\infty)", r"[0,\infty)")
    assert not correct("[1,2]", "(1,2)")
    assert not correct(r"[-\infty,0)", r"(-\infty,0)") and not correct(r"(0,\infty]", r"(0,\infty)")


def test_sets_have_no_order():
    assert correct(r"\{2,1\}", r"\{1,2\}")
    assert correct("13, 12, 9, 7", "7,9,12,13")
    assert correct(r"3\pm\sqrt{2}", r"3-\sqrt2, 3+\sqrt2")
    assert correct("5 or 6", "6,5")
    assert not correct(r"\{1,2\}", r"\{1,3\}")
    assert not correct("2", "2,-2")


def test_tuples_have_an_order():
    assert correct(r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})")
    assert not correct("(2,1)", "(1,2)")
    assert not correct("2,1", "(1,2)")
    assert not correct(r"\{1,2\}", "(1,2)")


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
    assert correct(matrix(VECTOR, row=r"\\"), matrix(VECTOR)) and not correct(matrix(VECTOR[::-1]), matrix(VECTOR))


def test_ratios():
    assert correct("3:4", r"\frac{3}{4}") and correct("1 : 2 : 3", "1:2:3") and correct("2:4:6", "1:2:3")
    for answer in ("1:2", "1:6:1", "1:2:3:1", "3:2:1", "1:2:x", "-1:2:3"):
        assert not correct(answer, "1:2:3")
    assert not correct("1:2:1", "1:2")


def test_complex_numbers():
    for answer in ("5-8i", "5-8 i", r"-8\cdot i+5", r"\frac{10-16i}{2}"):
        assert correct(answer, "5-8i") and correct(answer, "5 - 8 i")
    for answer in ("5+8i", "8-5i", "5-8", "5-8x", "(5,-8)"):
        assert not correct(answer, "5-8i")


def test_text_answers():
    assert correct("Evelyn", r"\text{Evelyn}")
    assert correct(r"\text{(B)}", r"\text{B}")
    assert not correct(r"\text{Evelin}", r"\text{Evelyn}")
    assert not correct("listen", r"\text{silent}")
    assert not correct(r"\text{June 21}", r"\text{June 20}")


def test_degrees():
    assert correct("30", r"30^\circ")
    assert correct(r"30^{\circ}", "30 degrees")
    assert not correct("31", r"30^\circ")


def test_units():
    assert correct("5 inches", r"5\text{ inches}")
    assert correct(r"5 \text{ cm}^2", "5")
    assert correct(r"6\pi\mbox{ cm}", r"6\pi")
    assert correct("60 miles per hour", "60", "gsm8k")
    assert correct("12 km/h", "12", "gsm8k")
    assert not correct("6 inches", r"5\text{ inches}")
    # No units: letters of a formula, and words that change the value.
    assert not correct("5x", "5")
    assert not correct("2m", "2")
    for answer in ("5 dozen", "5 million", "5 and a half", "5 squared", r"5\text{ million}"):
        assert not correct(answer, "5")
        assert verdicts(f"The answer is: {answer}", "5", "gsm8k")[0] is False


def test_percent():
    assert correct(r"50\%", "50")
    assert correct("50 percent", r"50\%")
    assert correct("50%", "50", "gsm8k")
    assert not correct("0.5", r"50\%")


def test_dollars():
    assert correct(r"\$15,\!000", "15000")
    assert correct("$1,234.50", "1234.5", "gsm8k")
    assert correct("-$5", "-5", "gsm8k")
    assert correct("$5$", "5")
    assert not correct("$5", "-5", "gsm8k")


def test_a_named_value_is_the_value():
    assert correct("x=5", "5")
    assert correct("5", "x = 5")
    assert correct("f(x) = 2x+3", "3+2x")
    assert not correct("x=6", "5")
    # An equation that merely ends in it is so to the lenient reading only.
    assert verdicts("The answer is: y=5", "x=5")[:2] == [False, True]
    assert verdicts("The answer is: 3+4=7", "7")[:2] == [False, True]
    assert verdicts("The answer is: 3+x=7", "10")[:2] == [False, False]
    assert correct("x^2+y^2-4=0", "x^2+y^2=4")
