"""Equality of two mathematical answers: as numbers, as words, or as expressions by math-verify's rules.

math-verify searches a text for an answer and accepts parts of it: a fraction in what it cannot parse, a list without
its repetitions, the last equation of a chain. Here the entire answer must equal the entire reference.
"""

from fractions import Fraction

import regex as re

BOX = re.compile(r"\\boxed\s*(\{(?:[^{}]++|(?1))*+\})")
WRAPPED = re.compile(r"(?s)\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]")
TEXT = r"\\(?:text|mbox|mathrm|textrm|textbf|textit)\{(?P<text>[^{}]*)\}"
UNIT = re.compile(
    rf"(?:(?<=\w|\}}|\))\s*{TEXT}"
    r"|(?<=\d)(?P<words>(?:\s*(?:kg|km|cm|mm|mg|ml|lbs?|oz|ft|hr|mph)\b(?:/[a-z]+)?|\s+[A-Za-z][A-Za-z'-]{2,})"
    r"(?:\s+[A-Za-z'-]+)*))(?:\^?\{?[23²³]\}?)?$"
)
# With their temperature scale, since 18°C is not a product.
DEGREES = r"(?:\^\s*(?:\\circ\b|\{\s*\\circ\s*\})|°)(?:\s*(?:\\(?:text|mbox|mathrm)\{\s*[CF]\s*\}|[CF]\b))?"
IGNORED = re.compile(rf"\\[!,;:]|\\?[%\p{{Sc}}]|\\pounds\b|{DEGREES}|\\(?:left|right)(?![a-z])")
DIGITS = r"(?:(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
NUMBER = re.compile(
    r"(?P<prefix>[-−+]? ?(?P<money>\\?\p{Sc})? ?|(?P<money>\\?\p{Sc}) ?[-−+])"
    rf"(?:(?P<over>{DIGITS})(?: ?/ ?(?P<under>{DIGITS}))?"
    rf"|\\[cdt]?frac ?(?:\{{(?P<over>[-−]?{DIGITS})\}}|(?P<over>\d)) ?(?:\{{(?P<under>{DIGITS})\}}|(?P<under>\d)))"
    rf"(?P<unit> ?(?:\\?[%\p{{Sc}}]|{DEGREES})?"
    r"(?: ?[-/]? ?(?:\p{L}{1,4}\.|\p{L}[\p{L}'’]*+)(?:\^\{?[23]\}?|[²³])?)*)"
)
# Words that are numbers or may change the value of a number: after any of them, a text is no number.
NO_UNIT = re.compile(
    r"(?i:(?:zero|one|two|three|four|fi(?:ve|f)|six|seven|eight?|nine?|ten|eleven|twel(?:ve|f)|hundred|thousand|lakh|lac"
    r"|crore|dozen|grand|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)t(?:y|ie)"
    r"|\w*illi(?:on|ard))(?:fold|e?s|en?|e?ths?)?|fold|ths?|firsts?|thirds?|hal(?:f|ves)|quarters?|scores?|gross|st|nd"
    r"|rd|myriads?|once|twice|thrice|double|triple|quadruple|n[oa]ught|nil|pi|π|infinity|(?:per)?mille|hundredweight"
    r"|googol|squared|cubed|factorial|x|[bmt]n|[mb]ln|trn|mils?|mill|bil|tril|mio|mrd|tsd|cr|negative|minus|plus|neg"
    r"|below|under|and|or|to|base|not|approx(?:imately)?|roughly|wrong|incorrect)|[kKMBTeE]|MM"
)
MONEY_SCALE = re.compile(r"(?i)mm?|[btgl]")  # million, billion … after a currency sign, otherwise metres, grams …
SPELLINGS = {"−": "-", "{,}": ",", ">=": "\\ge ", "<=": "\\le ", "\\langle": "(", "\\rangle": ")"}
ASSIGNMENT = re.compile(r"^\\?[A-Za-z]+(?: [A-Z]+)?(?:_\{?\w+\}?|\^\{-1\}|')*\s*(?:\([\w, ]*\))?\s*=(?=[^=]*$)")
ELEMENT = re.compile(r"^[A-Za-z]\s*\\in(?![a-z])\s*")
DECIMAL = re.compile(r"(?<![\d.,])(\d*+)\.(\d++)(?!\.|\\overline|\\bar)")
IN_A_BASE = re.compile(r"\d[0-9A-F]*_")
# Parts that math-verify omits, or at which it stops reading; an interval is never closed at infinity.
LEFT_OUT = re.compile(r"'|\\prime\b|\bnot\b|\\[lc]?dots\b|\.\.\.|\\approx\b|≈|\[\s*-\\infty|\\infty\s*\]")
NAMES = re.compile(r"(?:^|[,;]|\b(?:and|or)\b)\s*([A-Za-z])\s*=")
SEPARATOR = re.compile(r"\s*(?:[,;]|\b(?:and|or)\b)\s*")


def same(answer: str, gold: str) -> bool:
    """Return whether two answers are equal. It may not terminate: call it under a limit."""
    answer, gold = clean(answer), clean(gold)
    if answer == gold:
        return answer != ""
    # Paragraphs, and braces that would end the \boxed{} of `parsed` too early or start another.
    if not answer or re.search(r"\n\s*\n|\\boxed", answer) or answer.count("{") != answer.count("}"):
        return False
    values = [number(text, units=False) for text in (answer, gold)]
    if None not in values:
        return values[0] == values[1]
    if any(re.fullmatch(TEXT, text) for text in (answer, gold)) and words(answer) == words(gold):
        return True
    # math-verify omits the base of 10_7, and treats the set {1, 2} as the pair (1, 2).
    if IN_A_BASE.search(answer) or IN_A_BASE.search(gold):
        return without_braces(answer) == without_braces(gold)
    opening = {text[:2] if text.startswith("\\{") else text[0] for text in (answer, gold)}
    if "\\{" in opening and opening & {"(", "["}:
        return False
    if max(answer.count(":"), gold.count(":")) > 1:
        return same_ratio(answer, gold)
    # An equation is the value on its right only if it names that value; x \in [1, 2] names the set.
    if bool(ELEMENT.match(answer)) != bool(ELEMENT.match(gold)):
        answer, gold = ELEMENT.sub("", answer), ELEMENT.sub("", gold)
    if ("=" in answer) != ("=" in gold):
        answer, gold = (ASSIGNMENT.sub("", without_repeated_name(text)) for text in (answer, gold))
        if "=" in answer + gold:
            return False
    if answer.count("=") != gold.count("=") or sorted(LEFT_OUT.findall(answer)) != sorted(LEFT_OUT.findall(gold)):
        return False
    return same_parsed(answer, gold)


def verified(output: str, gold: str) -> bool:
    """Return math-verify's own verdict on an output, in which it looks for the answer. Call it under a limit."""
    from math_verify import parse, verify

    found = [parse(text, parsing_timeout=None) for text in (f"\\boxed{{{gold}}}", output)]
    return verify(*found, timeout_seconds=None)


def number(text: str, units: bool = True) -> Fraction | None:
    """Return the exact value of a text that is one number, or None; without `units`, of a number without a unit."""
    text = re.sub(TEXT, r"\g<text>", bare(text))
    match = NUMBER.fullmatch(text.replace("{,}", ",").replace("\\!", ""))
    if not match or (match["unit"] and not units):
        return None
    words = re.findall(r"\p{L}+", match["unit"])
    if any(map(NO_UNIT.fullmatch, words)) or (match["money"] and words and MONEY_SCALE.fullmatch(words[0])):
        return None
    over, under = ((match[name] or "1").replace(",", "").replace("−", "-") for name in ("over", "under"))
    try:
        value = Fraction(over) / Fraction(under)
    except (ValueError, ZeroDivisionError):
        return None  # more digits than Python parses, or a division by zero
    return value if {"-", "−"}.isdisjoint(match["prefix"]) else -value


def same_parsed(answer: str, gold: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify
    from math_verify.parser import NormalizationConfig

    rules = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="last")
    # The entire \boxed{} or nothing: without these options, a fraction or a bracket in it would be accepted.
    config = [LatexExtractionConfig(False, boxed_match_priority=0, normalization_config=rules)]
    parsed = [
        parse(f"\\boxed{{{exact(text)}}}", config, extraction_mode="first_match", parsing_timeout=None)
        for text in (answer, gold)
    ]
    counts = [members(one[0]) for one in parsed if one]
    return len(set(counts)) == 1 and verify(parsed[1], parsed[0], timeout_seconds=None)


def same_ratio(answer: str, gold: str) -> bool:
    """Return whether ratios of numbers like 1:2:3 are equal; math-verify would divide 1 by 2 and by 3."""
    parts = [[number(part, units=False) for part in text.split(":")] for text in (answer, gold)]
    if len(parts[0]) != len(parts[1]) or None in parts[0] + parts[1]:
        return False
    totals = [sum(map(abs, values)) for values in parts]
    return all(one * totals[1] == other * totals[0] for one, other in zip(*parts, strict=True))


def without_repeated_name(text: str) -> str:
    """Return the list of values in x = 2, x = -3."""
    names = NAMES.findall(text)
    repeated = len(set(names)) == 1 and 1 < len(names) == text.count("=")
    return re.sub(r"\b[A-Za-z]\s*=", "", text) if repeated else text


def members(expression) -> int:
    """Count the members of a list, a pair or a chain as written, including repetitions; 1 for anything else."""
    from latex2sympy2_extended.logic import And
    from latex2sympy2_extended.sets import FiniteSet
    from sympy import Interval, Tuple

    if isinstance(expression, FiniteSet | And):
        return len(expression._unsorted_args)
    if isinstance(expression, Interval):
        return 2  # (1, 2) may be a pair.
    return len(expression) if isinstance(expression, Tuple) else 1


def words(text: str) -> list[str]:
    r"""List the words or phrases of `A, C and F` or \text{A,C,F} in order, without brackets and case."""
    text = re.sub(TEXT, r"\g<text>", text)
    return sorted(part.strip(" ()").casefold() for part in SEPARATOR.split(text))


def bare(text: str) -> str:
    """Return an answer without formula delimiters, a \\boxed around it and a final full stop."""
    text = text.strip().removesuffix(".").strip()
    if wrapped := WRAPPED.fullmatch(text):
        text = next(part for part in wrapped.groups() if part is not None).strip().removesuffix(".")
    if box := BOX.fullmatch(text):
        text = box[1][1:-1].strip()
    return text


def boxed(text: str) -> str | None:
    """Return the content of the last \\boxed{...}, or the text after the last \\boxed without braces."""
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


def clean(text: str) -> str:
    """Return an answer without ignored parts: delimiters, currency, percent and degree signs, units."""
    text = bare(text)
    for old, new in SPELLINGS.items():
        text = text.replace(old, new)
    text = re.sub(r"(\\\\)|\\ ", lambda match: match[1] or " ", text)  # the end of a matrix's row stays
    text = IGNORED.sub("", text).strip()
    text = re.sub(r"(\\[cdt]?frac)\s*(\\[A-Za-z]+)", r"\1{\2}", text)
    unit = UNIT.search(text)
    if unit and re.search(r"\d", text[: unit.start()]):
        named = re.findall(r"[^\W\d_]+", unit["text"] or unit["words"] or "")
        if not any(map(NO_UNIT.fullmatch, named)):
            text = text[: unit.start()]
    return text.strip()


def without_braces(text: str) -> str:
    return re.sub(r"\\(?:text|mathrm|mbox)|[{}\s,]", "", text)


def exact(latex: str) -> str:
    """Rewrite LaTeX so that math-verify reads it exactly.

    Decimals become fractions, which it does not round; 0,25 becomes two numbers; 2i becomes 2 i, in which i is the
    imaginary unit and not a variable.
    """
    latex = re.sub(r"(?<![\d.,])0,(?=\d)", "0, ", latex)
    latex = re.sub(r"(?<=\d)i\b", " i", latex)
    return DECIMAL.sub(lambda match: f"{{\\frac{{{match[1]}{match[2]}}}{{1{'0' * len(match[2])}}}}}", latex)
