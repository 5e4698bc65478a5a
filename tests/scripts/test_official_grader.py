"""The official repository's rules, its published leniencies included."""

import pytest
from sympy.core.function import UndefinedFunction

from hra_workflow.tasks.math import official_grader


@pytest.mark.parametrize(
    "text, number",
    [("3", "3"), ("about -2.6 kg", "-3"), ("2.5", "2"), ("7/2", "4"), ("7/0", "7"), ("x", None), ("1/00", None)],
)
def test_official_numbers(text, number):
    assert official_grader.answer("gsm8k", f"The answer is: {text}") == number


def test_official_leniencies_with_lists_and_closeness():
    assert official_grader.right("boxed", "7,9,12,14", "7,9,12,13")
    assert official_grader.right("boxed", "10001", "10000")
    assert not official_grader.right("boxed", "10002", "10000")
    assert official_grader.right("boxed", "(1,2)", "1,2")
    assert official_grader.right("boxed", "1.4142", "sqrt(2)")
    assert official_grader.right("boxed", "2*sqrt(2)", "sqrt(8)")
    assert not official_grader.right("boxed", r"x\sqrt{4}", "2x")  # LaTeX is not parsed
    assert not official_grader.right("boxed", "", r"\sqrt")


def test_answers_are_not_run_as_code(tmp_path):
    target = tmp_path / "written"
    for code in (f"open('{target}', 'w')", "().__class__", "x.func(1)"):
        assert not official_grader.right("boxed", code, "x+1")
        with pytest.raises(ValueError, match="attributes or strings"):
            official_grader.expression(code)
    for function in ("exit", "input", "test", "preview"):
        assert isinstance(official_grader.expression(f"{function}(1)").func, UndefinedFunction)
    assert not target.exists()
