"""Verdicts of three ways to grade an answer."""

from hra_workflow.tasks.math import answers

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
