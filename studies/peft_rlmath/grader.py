r"""The rules of PEFT's benchmark of reinforcement learning: the last \boxed{} of an output, compared as a text.

Source: huggingface/peft, pull request 3078, method_comparison/RLMath/reward.py, `extract_boxed` and `grade_answer`,
commit d2587c8, which follow tinker-cookbook. Both texts are normalised in two ways, and equal in one of them. The
comparison of expressions by sympy that follows there is never reached: `should_allow_eval` requires both of two
patterns of powers, which it means to exclude. LaTeX is not rendered here: formatting is removed, other commands remain.
"""

import re

from hra_workflow.tasks.math.graders import Grader, only

BARE = re.compile(r"\\boxed\s+([a-zA-Z0-9]+)")
NAMES = "degree|cm|centimeter|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard"
UNIT = re.compile(rf"({NAMES})(es)?s? *(\^[0-9]+)?")
FORMATTED = re.compile(r"\\(?:boxed|text|textbf|textit|textrm|mathrm|mathbf|mathit|boldsymbol)\b")
SPACE = re.compile(r"\\[,;: ]|~")
THOUSANDS = re.compile(r"(?<=\d),(?=\d\d\d(?!\d))")
WHOLE_TEXT = re.compile(r"\\text\{(.+?)\}")


def answer(style: str, output: str) -> str | None:
    """Return the content of the last boxed answer; None without one, or if a brace closes nothing."""
    opened, found = [], None
    for place, character in enumerate(output):
        if character == "{":
            opened.append(place)
        elif character == "}":
            if not opened:
                return None
            first = opened.pop()
            if output.endswith("\\boxed", 0, first):
                found = output[first + 1 : place]
    bare = BARE.search(output) if found is None else None
    return bare[1] if bare else found


def right(style: str, answer: str, gold: str) -> bool:
    """Return whether an answer equals the reference in one of the two normal forms."""
    gold = gold.replace(",", "")
    return without_markup(answer) == without_markup(gold) or as_number(answer) == as_number(gold)


def unwrapped(text: str) -> str:
    whole = WHOLE_TEXT.fullmatch(text)
    return whole[1] if whole else text


def without_markup(text: str) -> str:
    """Return the text without spaces, signs of currency and percent, degrees, and a unit that follows it."""
    text = unwrapped(text.strip()).strip().replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    for mark in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$"):
        text = text.replace(mark, "")
    number, *units = text.split("\\text{ ")
    text = (number if len(units) == 1 else text).replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = f"0{text}" if text.startswith(".") else text
    name, *value = text.split("=")
    text = value[0] if len(value) == 1 and len(name) <= 2 else text
    return re.sub(r"[dt]frac", "frac", text.replace(" ", ""))


def as_number(text: str) -> str:
    """Return the text without units and separators of thousands; a whole number in its shortest form."""
    text = unwrapped(text)
    for mark in ("\\%", "\\$", "$", "%"):
        text = text.replace(mark, "")
    text = re.sub(r"\^ *\\circ", "", UNIT.sub("", text))
    text = text[1:-1] if text[:1] == "{" and text[-1:] == "}" else text
    text = shortest(re.sub(r",\\! *", "", text))
    text = SPACE.sub(" ", FORMATTED.sub("", text)).strip()
    text = re.sub(r"(\d) +(\d)", r"\1+\2", re.sub("- *", "-", text))
    text = re.sub(r"[ {}]", "", text).rstrip("\\").lower()
    return shortest(THOUSANDS.sub("", text))


def shortest(text: str) -> str:
    """Return a whole number without its decimal places; other texts as they are."""
    try:
        value = float(text)
        return str(round(value)) if abs(value - round(value)) <= 1e-7 else text
    except (ValueError, OverflowError):
        return text


BOXED = Grader(only(answer), right)
