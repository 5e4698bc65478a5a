"""The official repository's grading rules, for a column that is comparable with the paper's accuracies.

They are reproduced as published, including their errors:

- every number is also correct at 100 times or a hundredth of its value, and within 0.01 %; a list of numbers is read
  as one number (7,9,12,14 is correct for 7,9,12,13), and 10_7 as 107;
- symbolic answers are equal within 0.1 % of their value; LaTeX is never parsed (the library for it was not installed);
- an answer that the normalisation cannot handle (`x/2`, `3.5/2`, a bare `\\sqrt`) counts as correct;
- GSM8K: only the first separator of a number is read (1,234,567 is 1234), and decimals are rounded.

It is not reproduced that the code may hang or crash (`right` is called under a limit), and that it executes an answer
as Python code.
"""

import functools
import re
from math import isclose

MARK = "The answer is: "
NUMBER = re.compile(r"[\-+]?\d*[\.,/]?\d+")


def answer(style: str, output: str) -> str | None:
    """Extract the answer of an output as the official code does; None if it finds none."""
    # It uses these words as stop strings in generation, so nothing after the first of them exists.
    _, mark, text = re.split("Instruction|Response", output, maxsplit=1)[0].rpartition(MARK)
    if not mark:
        return None
    return number(text) if style == "gsm8k" else text.split(".\n")[0].strip().removesuffix(".").strip()


def number(text: str) -> str | None:
    """Return the first number of a text, rounded to an integer."""
    match = NUMBER.search(text.strip())
    if not match:
        return None
    above, _, below = match.group().replace(",", "").partition("/")
    try:
        return str(round(float(above) if below in ("", "0") else int(above) / int(below)))
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def right(style: str, answer: str, gold: str) -> bool:
    """Return whether the official code grades the answer as correct. It may not terminate."""
    if style == "gsm8k":
        return math_equal(answer, gold)
    # Hendrycks' normal form. Imported here: it takes a second of CPU time.
    from lm_eval.tasks.hendrycks_math.utils import strip_string

    try:
        answer, gold = strip_string(answer), strip_string(gold)
    except (AssertionError, IndexError, ValueError):
        return bool(answer)  # It compares the answer with itself here.
    return math_equal(answer, gold) or answer == gold


def math_equal(answer: str, gold: str) -> bool:
    """Return whether two answers are equal.

    They may be equal as numbers, as text without brackets, part by part, or as Python expressions.
    """
    numbers = as_float(answer), as_float(gold)
    if None not in numbers:
        return any(isclose(numbers[1] * factor, numbers[0], rel_tol=1e-4) for factor in (0.01, 1, 100))
    if not answer:
        return False
    answer, gold = answer.strip(), gold.strip()
    bare_answer, bare_gold = answer, gold
    if (enclosed(answer, "[]") and not gold.startswith("(")) or (enclosed(answer, "()") and not gold.startswith("[")):
        bare_answer, bare_gold = answer.strip("[]()"), gold.strip("[]()")
    if re.sub(r"[{}()]", "", bare_answer) == re.sub(r"[{}()]", "", bare_gold):
        return True
    if any(enclosed(answer, pair) and enclosed(gold, pair) for pair in ("[]", "()")):
        parts = answer[1:-1].split(","), gold[1:-1].split(",")
        if len(parts[0]) == len(parts[1]) and all(map(math_equal, *parts)):
            return True
    return symbolic_equal(answer, gold)


def as_float(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def enclosed(text: str, pair: str) -> bool:
    return text.startswith(pair[0]) and text.endswith(pair[1])


def symbolic_equal(answer: str, gold: str) -> bool:
    """Return whether sympy simplifies the difference to 0, or to within 0.1 %; False for invalid Python expressions."""
    from sympy import N, simplify

    try:
        if simplify(expression(answer) - expression(gold)) == 0:
            return True
    except Exception:
        pass  # sympy may raise anything on model output: not equal, as in the official code.
    try:
        return isclose(N(expression(answer, power=True)), N(expression(gold, power=True)), rel_tol=1e-3)
    except Exception:
        return False


def expression(text: str, power: bool = False):
    """Parse a Python-like text as a sympy expression.

    The official code first reads ^ as exclusive or (2^3 is 1), and as a power only if that fails (`power`).
    """
    from sympy.parsing.sympy_parser import convert_xor, parse_expr, standard_transformations

    # sympy executes the text as code, so it must be mathematics only.
    if re.search(r"__|['\"]|\.\s*[A-Za-z_]", text):
        raise ValueError(f"attributes or strings in {text}")
    try:
        return parse_expr(text, global_dict=mathematics())
    except Exception:
        if not power:
            raise
        return parse_expr(text, global_dict=mathematics(), transformations=(*standard_transformations, convert_xor))


@functools.cache
def mathematics() -> dict:
    """Return the allowed names in an expression: sympy's mathematical objects, no functions with side effects."""
    import sympy

    names = {name: getattr(sympy, name) for name in sympy.__all__}
    objects = {
        name: value
        for name, value in names.items()
        if isinstance(value, sympy.Basic) or (isinstance(value, type) and issubclass(value, sympy.Basic))
    }
    return objects | {name: names[name] for name in ("sqrt", "cbrt", "root")} | {"__builtins__": {}}
