"""Final answers of mathematical problems: where they stand in a text, and when two of them are the same.

An output is judged three ways, side by side:

- strict: all that follows the last "The answer is: ", the form that training teaches, has to be the answer;
- lenient: else what follows "The answer is", the last \\boxed, what follows "#### ", or the last number (GSM8K) or
  formula; of a sentence, the first number or formula in it, with all that touches its value (10^3, 18 million, 18-20);
- official: the rules of the official repository (official_grader.py).

GSM8K's numbers are compared exactly (quantities.py), other answers as expressions (expressions.py). Signs of money, per
cent and degree, and units do not count; a factor of 100 always does.
"""

import re
from fractions import Fraction

from common.tasks.math import expressions, official_grader, quantities, sandbox

MARK = official_grader.MARK
LOOSE_MARK = re.compile(r"(?i)the answer is\b:?")
CALCULATION = re.compile(r"<<[^<>]*>>")
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
APPROXIMATELY = re.compile(r"\\approx\b|≈")
SENTENCE_END = re.compile(r"\.(?:\s|$)|\n")


def gold(style: str, text: str) -> str:
    """The reference answer in a row of a benchmark; ValueError with the row's text where there is none."""
    if style == "gsm8k":
        answer = CALCULATION.sub("", text.rpartition("#### ")[2]) if "#### " in text else ""
        answer = answer if number(answer) is not None else ""
    elif style == "boxed":
        answer = expressions.boxed(text) or ""
    else:
        answer = text.rpartition(MARK)[2] if MARK in text else ""
    if not answer.strip():
        form = {"gsm8k": "#### and a number", "boxed": r"\boxed{...}", "metamath": MARK.strip()}[style]
        raise ValueError(f"no final answer ({form}) in: {text}")
    return answer.strip()


def grade(style: str, output: str, gold: str) -> dict[str, dict]:
    """Verdicts on an output: for each way the extracted `answer`, whether it is `right`, and `timeout` if it struck."""
    outcomes: dict[tuple, bool | None] = {}

    def outcome(rules: str, reading: str) -> bool | None:
        """Right, wrong, or None where there was no result within the limits."""
        if (rules, reading) not in outcomes:
            try:
                outcomes[rules, reading] = right(style, rules, reading, gold)
            except TimeoutError:
                outcomes[rules, reading] = None
        return outcomes[rules, reading]

    def verdict(rules: str, readings: list[str]) -> dict:
        """On the first reading that is right, else on the last one."""
        found = {}
        for reading in readings:
            found[reading] = outcome(rules, reading)
            if found[reading]:
                break
        result = {"answer": readings[len(found) - 1] if readings else None, "right": True in found.values()}
        return result | ({"timeout": True} if None in found.values() else {})

    whole = output.rpartition(MARK)[2].strip()
    official = official_grader.answer(style, output)
    return {
        "strict": verdict("own", [whole] if MARK in output and whole else []),
        "lenient": verdict("own", lenient_readings(style, output)),
        "official": verdict("official", [] if official is None else [official]),
    }


def right(style: str, rules: str, answer: str, gold: str) -> bool:
    """Whether an answer is right; expressions in a process with limits, since sympy may take for ever."""
    if rules == "official":
        if style == "gsm8k":
            return official_grader.right(style, answer, gold)
        return sandbox.call("common.tasks.math.official_grader:right", style, answer, gold)
    if style == "gsm8k":
        value = number(answer)
        return value is not None and value == number(gold)
    return sandbox.call("common.tasks.math.expressions:same", answer, gold)


def number(text: str) -> Fraction | None:
    """Return the value of an answer that is one number, with or without its unit."""
    return quantities.value(expressions.bare(text))


def lenient_readings(style: str, output: str) -> list[str]:
    """What may be meant as the answer: the text at the first kind of mark found, then the number or formula in it."""
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
            return list(dict.fromkeys(filter(None, [text, *inner])))  # each once
    formulas = [] if style == "gsm8k" else FORMULA.findall(output)
    found = ["".join(parts) for parts in formulas] or quantities.phrases(output)
    return [found[-1].strip()] if found else []


def first_number(text: str) -> list[str]:
    """The first number of the first line, after its last equals sign, with all that touches its value."""
    return quantities.phrases(text.split("\n")[0].rpartition("=")[2])[:1]


def first_formula(text: str) -> list[str]:
    """The boxed or first formula of a text, else its first sentence; its right-hand side; what it approximates."""
    formula = FORMULA.search(text)
    inner = expressions.boxed(text)
    inner = inner or ("".join(filter(None, formula.groups())) if formula else SENTENCE_END.split(text)[0])
    return [inner.strip(), inner.rpartition("=")[2].strip(), APPROXIMATELY.split(inner)[0].strip()]
