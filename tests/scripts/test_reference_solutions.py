"""The grader on the reference solutions of GSM8K and MATH: right against themselves, wrong with a digit changed."""

import json
import re

import pytest

from hra_workflow.tasks.math import answers
from support import SHARED

WAYS = ("strict", "lenient", "official")


def solutions(style: str, step: int) -> list[str]:
    folder, names, column = {
        "gsm8k": ("gsm8k", ["train", "test_700"], "answer"),
        "boxed": ("math_sample", ["test_500"], "solution"),
    }[style]
    if not (SHARED / "data" / folder).is_dir():
        pytest.skip("no ../shared/data on this machine")
    files = [SHARED / "data" / folder / f"{name}.jsonl" for name in names]
    rows = [json.loads(line)[column] for file in files for line in file.read_text().splitlines()]
    assert len(rows) == {"gsm8k": 8173, "boxed": 500}[style]
    return rows[::step]


def changed(answer: str) -> list[str]:
    """Wrong answers: each digit changed; where there is none, each letter outside of commands."""
    digits = [match.start() for match in re.finditer(r"\d", answer)]
    letters = [match.start(1) for match in re.finditer(r"\{[^{}]*?([A-Za-z])[^{}]*\}", answer)]
    following = str.maketrans("0123456789", "1234567890") if digits else None
    swap = (lambda c: c.translate(following)) if digits else (lambda c: "q" if c.lower() != "q" else "k")
    return [answer[:i] + swap(answer[i]) + answer[i + 1 :] for i in (digits or letters)]


SUBSETS = [
    pytest.param("gsm8k", 10, 0.999, id="gsm8k"),
    pytest.param("boxed", 10, 0.99, id="math"),
    pytest.param("gsm8k", 1, 0.999, id="all gsm8k", marks=pytest.mark.full),
    pytest.param("boxed", 1, 0.99, id="all math", marks=pytest.mark.full),
]


@pytest.mark.real
@pytest.mark.parametrize("style, step, least", SUBSETS)
def test_reference_solutions_are_right_against_themselves(style, step, least):
    right = dict.fromkeys((*WAYS, "whole solution"), 0)
    rows = solutions(style, step)
    for solution in rows:
        gold = answers.gold(style, solution)
        graded = answers.grade(style, f"The answer is: {gold}", gold)
        for way in WAYS:
            right[way] += graded[way]["right"]
        right["whole solution"] += answers.grade(style, solution, gold)["lenient"]["right"]
    assert min(right.values()) >= least * len(rows), right


@pytest.mark.real
@pytest.mark.parametrize("style, step, least", SUBSETS)
def test_answers_with_a_changed_digit_are_wrong(style, step, least):
    for solution in solutions(style, step):
        gold = answers.gold(style, solution)
        assert changed(gold)
        for answer in changed(gold):
            graded = answers.grade(style, f"The answer is: {answer}", gold)
            assert not graded["strict"]["right"] and not graded["lenient"]["right"], (answer, gold)
