"""The grader follows the rules of PEFT's benchmark."""

import pytest

from studies.peft_rlmath import task

GRADED = [  # output, reference, and what their extract_boxed and safe_grade return
    ("So \\boxed{18}.", "18", True),
    ("\\boxed{3} no, \\boxed{18}", "18", True),
    ("\\boxed{18} no, \\boxed{3}", "18", False),
    ("18", "18", False),
    ("\\boxed 18", "18", True),
    ("\\boxed18", "18", False),
    ("\\boxed{\\boxed{18}}", "18", True),
    ("\\boxed{{18}}", "18", True),
    ("\\boxed{18.0}", "18", True),
    ("\\boxed{18.5}", "18", False),
    ("\\boxed{\\$2,125}", "2,125", True),
    ("\\boxed{2{,}125}", "2,125", True),
    ("\\boxed{2\\,125}", "2,125", False),
    ("\\boxed{2125.00}", "2,125", True),
    ("\\boxed{18 \\text{ miles}}", "18", True),
    ("\\boxed{18 hours}", "18", True),
    ("\\boxed{18 dollars}", "18", False),
    ("\\boxed{\\textbf{18}}", "18", True),
    ("\\boxed{18\\%}", "18", True),
    ("\\boxed{x=18}", "18", True),
    ("\\boxed{eggs=18}", "18", False),
    ("\\boxed{36/2}", "18", False),  # sympy would say yes, but is never asked
    ("\\boxed{\\frac{36}{2}}", "18", False),
    ("\\boxed{-18}", "18", False),
    ("\\boxed{18 and 18}", "18", False),
    ("\\boxed{inf}", "18", False),
    ("\\boxed{1e400}", "18", False),
]


@pytest.mark.parametrize(("output", "gold", "right"), GRADED)
def test_answers_are_graded_as_by_the_benchmark_of_reinforcement_learning(output, gold, right):
    assert task.is_right("boxed", "gsm8k", output, gold) == right
