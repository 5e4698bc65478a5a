"""Final answers of mathematical problems: where they stand in a text, and when two of them are the same.

An output is judged three ways, side by side:

- strict: all that follows the last "The answer is: ", the form that training teaches, has to be the answer;
- lenient: else what follows "The answer is", the last \\boxed, what follows "#### ", or the last number (GSM8K) or
  formula; of a sentence, the first number or formula in it;
- official: the rules of the official repository (official_grader.py).

GSM8K's numbers are compared exactly; other answers are expressions, compared by math-verify where they are not plain
numbers. Dollar and percent signs, degrees and units do not count; a factor of 100 always does.
"""

import re
from fractions import Fraction

from common import limited, official_grader

MARK = official_grader.MARK
LOOSE_MARK = re.compile(r"(?i)the answer is\b:?")
DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<above>{DIGITS})(?:\s*/\s*(?P<below>{DIGITS}))?"
    rf"|\\[cdt]?frac\{{(?P<over>{DIGITS})\}}\{{(?P<under>{DIGITS})\}})"
)
NUMBER_IN_TEXT = re.compile(rf"(?:(?<![\w)}}])[-−]\$?)?(?<![\w.]){DIGITS}(?:\s?/\s?{DIGITS})?")
CALCULATION = re.compile(r"<<[^<>]*>>")
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
SENTENCE_END = re.compile(r"\.(?:\s|$)|\n")
WRAPPED = re.compile(r"(?s)\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]")
UNIT = re.compile(
    r"(?:(?<=\w|\}|\))\s*\\(?:text|mbox|mathrm|textrm)\{(?P<text>[^{}]*)\}"
    r"|(?<=\d)(?P<words>(?:\s*(?:kg|km|cm|mm|mg|ml|lbs?|oz|ft|hr)\b(?:/[a-z]+)?|\s+[A-Za-z][A-Za-z'-]{2,})"
    r"(?:\s+[A-Za-z'-]+)*))(?:\^?\{?[23²³]\}?)?$"
)
# Words after a number that are part of its value.
VALUE_WORDS = re.compile(
    r"(?i)\b(hundred|thousand|[a-z]{1,4}illion|dozen|half|halves|third|fifth|tenth|and|or|to|squared|cubed|base)s?\b"
)
ASSIGNMENT = re.compile(r"^\\?[A-Za-z]+(?: [A-Z]+)?(?:_\{?\w+\}?|\^\{-1\}|')*\s*(?:\([\w, ]*\))?\s*=(?=[^=]*$)")
DECIMAL = re.compile(r"(?<![\d.,])(\d*+)\.(\d++)(?!\.|\\overline|\\bar)")
IN_A_BASE = re.compile(r"\d[0-9A-F]*_")


def gold(style: str, text: str) -> str:
    """The reference answer in a row of a benchmark; ValueError with the row's text where there is none."""
    if style == "gsm8k":
        answer = CALCULATION.sub("", text.rpartition("#### ")[2]) if "#### " in text else ""
        answer = answer if number(answer) is not None else ""
    elif style == "boxed":
        answer = boxed(text) or ""
    else:
        answer = text.rpartition(MARK)[2] if MARK in text else ""
    if not answer.strip():
        form = {"gsm8k": "#### and a number", "boxed": r"\boxed{...}", "metamath": MARK.strip()}[style]
        raise ValueError(f"no final answer ({form}) in: {text}")
    return answer.strip()


def boxed(text: str) -> str | None:
    """The content of the last \\boxed{...}, or what follows the last \\boxed without braces."""
    _, mark, rest = text.rpartition("\\boxed")
    rest = rest.lstrip()
    if not mark or not rest.startswith("{"):
        return re.split(r"[\s$]", rest)[0] or None if mark else None
    depth = 0
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:place].strip() or None
    return None


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
        return limited.call("common.official_grader:right", style, answer, gold)
    if style == "gsm8k":
        return same_number(answer, gold)
    return limited.call("common.answers:same_expression", answer, gold)


def lenient_readings(style: str, output: str) -> list[str]:
    """What may be meant as the answer: the text at the first kind of mark found, then the number or formula in it."""
    output = CALCULATION.sub("", output)
    loose = list(LOOSE_MARK.finditer(output))
    for text in (
        output.rpartition(MARK)[2] if MARK in output else "",
        output[loose[-1].end() :] if loose else "",
        boxed(output) or "",
        output.rpartition("#### ")[2] if "#### " in output else "",
    ):
        if text := text.strip():
            inner = first_number(text) if style == "gsm8k" else first_formula(text)
            return list(dict.fromkeys(filter(None, [text, *inner])))  # each once
    formulas = [] if style == "gsm8k" else FORMULA.findall(output)
    found = ["".join(parts) for parts in formulas] or NUMBER_IN_TEXT.findall(output)
    return [found[-1].strip()] if found else []


def first_number(text: str) -> list[str]:
    """The first number of the first line, after its last equals sign."""
    return NUMBER_IN_TEXT.findall(text.split("\n")[0].rpartition("=")[2])[:1]


def first_formula(text: str) -> list[str]:
    """The boxed or first formula of a text, else its first sentence; and the right-hand side of that."""
    formula = FORMULA.search(text)
    inner = boxed(text) or ("".join(filter(None, formula.groups())) if formula else SENTENCE_END.split(text)[0])
    return [inner.strip(), inner.rpartition("=")[2].strip()]


def clean(text: str) -> str:
    """An answer without what does not count: delimiters, signs of money, per cent and degree, units, a full stop."""
    text = text.strip().removesuffix(".").strip()
    if wrapped := WRAPPED.fullmatch(text):
        text = next(part for part in wrapped.groups() if part is not None).strip().removesuffix(".")
    if text.startswith("\\boxed"):
        text = boxed(text) or text
    for old, new in (("−", "-"), ("{,}", ","), (">=", "\\ge "), ("<=", "\\le "), ("\\ ", " ")):
        text = text.replace(old, new)
    text = re.sub(
        r"\\[!,;:]|\\?[$%€£]|\^\s*(?:\\circ\b|\{\s*\\circ\s*\})|°|\\(?:left|right)(?![a-z])", "", text
    ).strip()
    text = re.sub(r"(\\[cdt]?frac)\s*(\\[A-Za-z]+)", r"\1{\2}", text)
    unit = UNIT.search(text)
    if unit and re.search(r"\d", text[: unit.start()]) and not VALUE_WORDS.search(unit["text"] or unit["words"]):
        text = text[: unit.start()]
    return text.strip()


def number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else, a fraction of decimals included."""
    match = NUMBER.fullmatch(clean(text))
    if not match:
        return None
    above, below = (match[a] or match[b] or "1" for a, b in (("above", "over"), ("below", "under")))
    try:
        value = Fraction(above.replace(",", "")) / Fraction(below.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None  # More digits than Python reads, or x/0.
    return -value if match["sign"] == "-" else value


def same_number(answer: str, gold: str) -> bool:
    value = number(answer)
    return value is not None and value == number(gold)


def same_expression(answer: str, gold: str) -> bool:
    """Whether two answers mean the same. May take for ever: call it under a limit."""
    from math_verify import LatexExtractionConfig, parse, verify
    from math_verify.parser import NormalizationConfig

    answer, gold = clean(answer), clean(gold)
    if answer == gold:
        return answer != ""
    # Paragraphs, and braces that would end the \boxed{} below too early or begin another.
    if not answer or re.search(r"\n\s*\n|\\boxed", answer) or answer.count("{") != answer.count("}"):
        return False
    values = number(answer), number(gold)
    if None not in values:
        return values[0] == values[1]
    # math-verify leaves out the base of 10_7, and takes the set {1, 2} for the pair (1, 2).
    if IN_A_BASE.search(answer) or IN_A_BASE.search(gold):
        return without_braces(answer) == without_braces(gold)
    opening = {text[:2] if text.startswith("\\{") else text[0] for text in (answer, gold)}
    if "\\{" in opening and opening & {"(", "["}:
        return False
    # An equation is the value on its right only if it names that value.
    if ("=" in answer) != ("=" in gold):
        answer, gold = ASSIGNMENT.sub("", answer), ASSIGNMENT.sub("", gold)
        if "=" in answer + gold:
            return False
    rules = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="last")
    config = [LatexExtractionConfig(boxed_match_priority=0, normalization_config=rules)]
    parsed = [parse(f"\\boxed{{{exact(text)}}}", config, parsing_timeout=None) for text in (answer, gold)]
    return verify(parsed[1], parsed[0], timeout_seconds=None)


def without_braces(text: str) -> str:
    return re.sub(r"\\(?:text|mathrm|mbox)|[{}\s,]", "", text)


def exact(latex: str) -> str:
    """Decimals as fractions: math-verify would compare them rounded."""
    return DECIMAL.sub(lambda match: f"{{\\frac{{{match[1]}{match[2]}}}{{1{'0' * len(match[2])}}}}}", latex)
