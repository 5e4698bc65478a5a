"""Final answers of mathematical problems: their extraction from a text, and their comparison.

An output is graded in three ways (graders.py), side by side:

- strict: everything after the last "The answer is: ", the form used in training, must be the answer: the same number
  (GSM8K), otherwise equal by math-verify's rules;
- lenient: by other projects' rules, which look for an answer anywhere. GSM8K: the filter `flexible-extract` and
  `exact_match` of lm-evaluation-harness 0.4.13, lm_eval/tasks/gsm8k/gsm8k.yaml, version 3. Other styles: the defaults
  of math-verify 0.9.0, on the text after that marker in a \\boxed{}, since LaTeX is not found without delimiters, and
  on the output;
- official: the rules of the official repository (official_grader.py).
"""

import math
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

from hra_workflow.tasks.math import graders, official_grader, sandbox

MARK = official_grader.MARK
CALCULATION = re.compile(r"<<[^<>]*>>")
WRAPPED = re.compile(r"\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(/\d+)?")
SIGNS = str.maketrans("", "", ",$€£%\\")  # which a number may have
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
SHOWN = 80  # characters of a text in an error
LONGEST = 1000  # An answer with more characters beyond those of the reference is incorrect.


def gold(style: str, text: str) -> str:
    """Return the reference answer of a benchmark's row; raise ValueError with the end of the text if it has none."""
    if style == "gsm8k":
        answer = CALCULATION.sub("", text.rpartition("#### ")[2]) if "#### " in text else ""
        answer = answer if number(answer) is not None else ""
    elif style == "boxed":
        answer = boxed(text)
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

    def verdict(grader: graders.Grader) -> dict:
        """Return the grade of the first correct reading, else of the last one."""
        read, right = grader.functions()
        reading, outcomes = None, []
        for reading in read(style, output):
            try:
                outcomes.append(right(style, reading, gold))
            except TimeoutError:  # no result within the limits
                outcomes.append(None)
            if outcomes[-1]:
                break
        return {"answer": reading, "right": True in outcomes} | ({"timeout": True} if None in outcomes else {})

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
    """Return whether an answer equals the reference, as a number (GSM8K) or by math-verify's rules."""
    if len(answer) > len(gold) + LONGEST:
        return False
    if style == "gsm8k":
        value = number(answer)
        return value is not None and value == number(gold)
    # math-verify would read a \boxed{} within other text.
    return "\\boxed" not in bare(answer) and by_math_verify(in_box(answer), gold)


def number(text: str) -> Fraction | None:
    """Return the value of a text that is one number, maybe with commas, a currency or a percent sign; else None."""
    plain = bare(text).translate(SIGNS).strip()
    try:
        return Fraction(plain) if NUMBER.fullmatch(plain) else None
    except (ValueError, ZeroDivisionError):
        return None  # 1.5/2, more digits than Python parses, or a division by zero


def by_math_verify(output: str, gold: str) -> bool:
    """Return math-verify's verdict, from a process with limits, as sympy may not terminate."""
    return sandbox.call(f"{__name__}:verified", output, gold)


def verified(output: str, gold: str) -> bool:
    """Return whether math-verify finds the reference in an output."""
    from math_verify import parse, verify

    found = [parse(text, parsing_timeout=None) for text in (f"\\boxed{{{gold}}}", output)]
    return verify(*found, timeout_seconds=None)


def official_right(style: str, answer: str, gold: str) -> bool:
    """Return whether the official code grades an answer as correct, with the same limits."""
    if style == "gsm8k":
        return official_grader.right(style, answer, gold)
    return sandbox.call("hra_workflow.tasks.math.official_grader:right", style, answer, gold)


def lenient_right(style: str, answer: str, gold: str) -> bool:
    """Return whether lm-evaluation-harness (GSM8K) or math-verify grades an answer as correct, with the same limits."""
    if style == "gsm8k":
        answer, gold = (re.sub(r"\.$", "", re.sub("[,$]", "", text)).lower() for text in (answer, gold))
        return answer == gold
    return by_math_verify(answer, gold)


def bare(text: str) -> str:
    """Return an answer without formula delimiters, a \\boxed around it and a final full stop."""
    text = text.strip().removesuffix(".").strip()
    if wrapped := WRAPPED.fullmatch(text):
        text = next(part for part in wrapped.groups() if part is not None).strip().removesuffix(".")
    inside = boxed(text)
    return inside.strip() if text == f"\\boxed{{{inside}}}" else text


def in_box(answer: str) -> str:
    """Return an answer as math-verify finds it: LaTeX without delimiters is text."""
    return f"\\boxed{{{bare(answer)}}}"


def boxed(text: str) -> str:
    """Return the content of the last \\boxed{...}, or the text after the last \\boxed without braces; "" if none."""
    _, mark, rest = text.rpartition("\\boxed")
    rest = rest.lstrip()
    if not mark or not rest.startswith("{"):
        return re.split(r"[\s$]", rest)[0] if mark else ""
    depth = 0
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:place]
    return ""


def strict_readings(style: str, output: str) -> list[str]:
    """Return the text after the last marker, if it exists."""
    whole = output.rpartition(MARK)[2].strip()
    return [whole] if MARK in output and whole else []


def lenient_readings(style: str, output: str) -> list[str]:
    """Return the last number of an output (GSM8K), or texts in which math-verify looks for an answer."""
    if style == "gsm8k":
        return ["".join(groups).strip() for groups in FLEXIBLE.findall(output)[-1:]]
    marked = [in_box(text) for text in strict_readings(style, output)]
    return [*marked, *filter(str.strip, [output])]


official_readings = graders.only(official_grader.answer)
