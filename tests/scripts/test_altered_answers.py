"""Answers that are not the reference: altered, hostile or long."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graded import correct, verdicts
from hra_workflow.tasks.math import answers, official_grader, sandbox

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
    assert answers.right("boxed", gold, gold) and answers.right("boxed", f"${gold}$.", gold)
    assert not [form for form in ALTERED if answers.right("boxed", form.format(gold), gold)]


def test_a_list_has_as_many_members_as_the_reference():
    assert correct("2, 2", "2,2") and correct("x=1, y=2", "x=1,y=2")
    assert correct("x=2, x=-3", "-3,2") and correct("x = 2 or x = -3", "-3,2") and correct("2,-3", "x=-3,x=2")
    assert not correct("x=2, y=-3", "-3,2") and not correct("x=2, x=3", "-3,2") and not correct("not 2, -3", "-3,2")
    for answer, gold in (
        ("2", "2,2"),
        ("2,2", "2"),
        ("5, 5.0", "5"),
        (r"\frac12, 0.5", "0.5"),
        (r"\{1,1,2\}", r"\{1,2\}"),
    ):
        assert not answers.right("boxed", answer, gold)


def test_words_in_a_list():
    for answer in ("A,C,F", "A, C, F", "F, A and C", r"\text{A, C, F}", r"\text{A and C and F}"):
        assert correct(answer, r"\text{A,C,F}")
    assert correct(r"\text{A,C,F}", "A,C,F")
    for answer in ("A,C", "A,C,F,F", "A,C,G", "ACF", r"\text{A,C,D}"):
        assert not correct(answer, r"\text{A,C,F}")


def test_a_named_set_or_vector_is_that_set_or_vector():
    assert correct(r"x \in [1,2]", "[1,2]")
    assert correct(r"\langle 1,2 \rangle", r"\langle 1, 2\rangle")
    assert not correct(r"\langle 1,3 \rangle", r"\langle 1, 2\rangle")


def test_signs_scales_and_mixed_numbers_in_expressions():
    assert correct("negative 5", "-5") and not correct("negative 5", "5")
    assert correct(r"5\text{ million}", r"5{,}000{,}000") and correct("1 1/2", r"\frac{3}{2}")
    assert correct(r"18^\circ C", "18") and correct("¥18", "18") and correct(r"60\text{ mph}", "60")
    assert not correct("0,380", "380") and not correct("0,380", "0.380")
    assert not correct("A'", "A")


def test_base_of_a_number():
    assert correct("10_7", "10_{7}")
    assert correct("1A_{16}", "1A_{16}")
    for answer in ("10_8", "11_7", "10", "7", "107"):
        assert not correct(answer, "10_{7}")
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
    assert not correct(answer, "5", style)
    assert answers.grade(style, f"The answer is: {answer}", "5")["official"]["answer"] != "5"


def test_two_boxes_are_two_answers():
    assert correct(r"\boxed{5}", "5", "gsm8k") and correct(r"$\boxed{\frac{\sqrt{3}}{2}}$.", r"\frac{\sqrt{3}}{2}")
    for gold in ("3", "5", "35", "2"):
        for answer in (r"\boxed{3} or \boxed{5}", r"\boxed{3}, \boxed{5}", r"\boxed{3}\boxed{5}"):
            assert not verdicts(f"The answer is: {answer}", gold, "gsm8k")[0]
            assert not verdicts(f"The answer is: {answer}", gold)[0]
        assert not verdicts(r"The answer is: \boxed{3} or \boxed{5}", gold, "gsm8k")[1]


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
                answers.right(style, reading, "7")
    assert time.process_time() - started < len(REPEATED)


def test_a_text_much_longer_than_the_reference_is_not_the_answer():
    long = "7" + " apples" * 200
    assert answers.number(long) == 7
    assert verdicts(f"The answer is: {long}", "7", "gsm8k") == [False, True, True]
    assert correct(long, long)
    assert verdicts("So it is 7." + " That is it." * 10**5, "7", "gsm8k") == [False, True, False]
    assert verdicts("1 " * 10**5 + "7" + " That is it." * 10**5, "7")[:2] == [False, True]


def test_stop_words_in_an_answer():
    assert correct(r"\text{Response}", r"\text{Response}")
    assert correct("42", "42", "gsm8k")
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
