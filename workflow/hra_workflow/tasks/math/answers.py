"""Final answers of mathematical problems: their extraction from a text, and their comparison.

An output is graded in three ways (graders.py), side by side:

- strict: everything after the last "The answer is: ", the form used in training, must be the answer;
- lenient: without that marker, the text after "The answer is", the last \\boxed, the text after "#### ", or the last
  number (GSM8K) or formula; in a sentence, its first number after “=”, “so” and similar words, or its first formula,
  with everything that affects its value (10^3, 18 million, 18-20), unless the sentence denies it;
- official: the rules of the official repository (official_grader.py).

GSM8K's numbers are compared exactly (quantities.py), other answers as expressions (expressions.py). Currency, percent
and degree signs and units are ignored; a factor of 100 never is.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

from hra_workflow.tasks.math import (
    expressions,
    graders,
    official_grader,
    quantities,
    sandbox,
)

MARK = official_grader.MARK
LOOSE_MARK = re.compile(r"(?i)the answer is\b:?")
CALCULATION = re.compile(r"<<[^<>]*>>")
FORMULA = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\(((?:(?!\\\().)+?)\\\)|\\\[((?:(?!\\\[).)+?)\\\]", re.DOTALL
)
APPROXIMATELY = re.compile(r"\\approx\b|≈")
SENTENCE_END = re.compile(r"\.(?:\s|$)|\n")
CONCLUSION = re.compile(r"=|\b(?:so|thus|hence|therefore)\b", re.IGNORECASE)
SHOWN = 80  # characters of a text in an error
LONGEST = 1000  # An answer with more characters beyond those of the reference is incorrect.


def gold(style: str, text: str) -> str:
    """Return the reference answer of a benchmark's row; raise ValueError with the end of the text if it has none."""
    if style == "gsm8k":
        answer = CALCULATION.sub("", text.rpartition("#### ")[2]) if "#### " in text else ""
        answer = answer if number(answer) is not None else ""
    elif style == "boxed":
        answer = expressions.boxed(text) or ""
    else:
        answer = text.rpartition(MARK)[2] if MARK in text else ""
    if not answer.strip():
        form = {"gsm8k": "#### and a number", "boxed": r"\boxed{...}", "metamath": f"{MARK}..."}[style]
        found = "…" * (len(text) > SHOWN) + text[-SHOWN:].replace("\n", " ")  # not repr: LaTeX has backslashes
        raise ValueError(f"expected a final answer in the style '{style}' ({form}), found '{found}'")
    return answer.strip()


def grade(style: str, output: str, gold: str, custom: Iterable[str] = ()) -> dict[str, dict]:
    """Grade an output; return by grader the extracted `answer` and whether it is correct (`right`).

    An entry has `timeout` if the time limit ended its grading. custom: names of graders in addition to GRADERS.
    """
    outcomes: dict[tuple, bool | None] = {}

    def outcome(right: Callable[[str, str, str], bool], reading: str) -> bool | None:
        """Return correct, incorrect, or None if there was no result within the limits."""
        if (right, reading) not in outcomes:
            try:
                outcomes[right, reading] = right(style, reading, gold)
            except TimeoutError:
                outcomes[right, reading] = None
        return outcomes[right, reading]

    def verdict(grader: graders.Grader) -> dict:
        """Return the grade of the first correct reading, else of the last one."""
        read, right = grader.functions()
        readings, found = read(style, output), {}
        for reading in readings:
            found[reading] = outcome(right, reading)
            if found[reading]:
                break
        result = {"answer": readings[len(found) - 1] if readings else None, "right": True in found.values()}
        return result | ({"timeout": True} if None in found.values() else {})

    return {name: verdict(graders.find(name)) for name in dict.fromkeys((*graders.GRADERS, *custom))}


def grade_all(
    style: str, outputs: list[str], golds: list[str], threads: int, custom: Iterable[str] = ()
) -> list[dict[str, dict]]:
    """Grade outputs in parallel, in their order: each thread waits for its own worker process (sandbox.py)."""
    from tqdm import tqdm

    with ThreadPoolExecutor(threads) as pool:
        graded = pool.map(lambda output, gold: grade(style, output, gold, custom), outputs, golds)
        return list(tqdm(graded, desc="grade", total=len(golds), disable=None))


def accuracy(right: list[bool]) -> dict[str, float]:
    """Compute the fraction of correct answers and its standard error √(p(1−p)/(n−1))."""
    n, value = len(right), sum(right) / len(right)
    return {"value": value, "stderr": math.sqrt(value * (1 - value) / max(n - 1, 1))}


def right(style: str, answer: str, gold: str) -> bool:
    """Return whether an answer is correct; expressions run in a process with limits, as sympy may not terminate."""
    if len(answer) > len(gold) + LONGEST:
        return False
    if style == "gsm8k":
        value = number(answer)
        return value is not None and value == number(gold)
    return sandbox.call("hra_workflow.tasks.math.expressions:same", answer, gold)


def official_right(style: str, answer: str, gold: str) -> bool:
    """Return whether the official code grades an answer as correct, with the same limits."""
    if style == "gsm8k":
        return official_grader.right(style, answer, gold)
    return sandbox.call("hra_workflow.tasks.math.official_grader:right", style, answer, gold)


def number(text: str) -> Fraction | None:
    """Return the value of an answer that is one number, with or without its unit."""
    return quantities.value(expressions.bare(text))


def strict_readings(style: str, output: str) -> list[str]:
    """Return the text after the last marker, if it exists."""
    whole = output.rpartition(MARK)[2].strip()
    return [whole] if MARK in output and whole else []


def lenient_readings(style: str, output: str) -> list[str]:
    """List possible answers: the text at the first type of marker found, then the number or formula in it."""
    output = CALCULATION.sub("", output)
    loose = list(LOOSE_MARK.finditer(output))
    for text in (
        output.rpartition(MARK)[2] if MARK in output else "",
        output[loose[-1].end() :] if loose else "",
        expressions.boxed(output) or "",
        output.rpartition("#### ")[2] if "#### " in output else "",
    ):
        if text := text.strip():
            inner = first_number(text) if style == "gsm8k" else first_formula(text)
            return list(dict.fromkeys(filter(None, [text, *inner])))  # without duplicates
    found = None if style == "gsm8k" else next(reversed([*formulas(output)]), None)
    found = found or quantities.last(output)
    return [found] if found else []


def first_number(text: str) -> list[str]:
    """Find the first number in the conclusion of the first line, with everything that affects its value."""
    parts = CONCLUSION.split(text.split("\n", maxsplit=1)[0])
    found = next(filter(None, map(quantities.first, reversed(parts))), None)
    return [found] if found else []


def first_formula(text: str) -> list[str]:
    """Find the boxed or first formula of a text, else its first sentence; also its parts after = and before ≈."""
    inner = expressions.boxed(text) or next(formulas(text), None) or SENTENCE_END.split(text, maxsplit=1)[0]
    return [inner.strip(), inner.rpartition("=")[2].strip(), APPROXIMATELY.split(inner)[0].strip()]


def formulas(text: str) -> Iterator[str]:
    """Yield the formulas of a text that it does not deny."""
    for match in FORMULA.finditer(text):
        if not quantities.denied(text, match.start()):
            yield "".join(filter(None, match.groups())).strip()


official_readings = graders.only(official_grader.answer)
