"""Numbers with signs, scales and units: parsing an entire text, or finding them in one.

    quantity = [sign] [currency] numeral {scale} [unit] ["negative" | "below zero" | "less than zero"]
    numeral  = 1,234.5 | 1'234.5 | 7/2 | \\frac{3}{4} | \\frac34 | ½ | 1 1/2 | 1\\frac12

A unit is any word or abbreviation that is not a number, a sign or an operation (number_words.py), with its exponent, or
a currency, percent or degree sign: it never changes the value, nor does the :00 of a full hour. A scale word multiplies
(18 million, 2 dozen, 18 hundredths). Everything else has no value here: ranges, calculations, numbers in words,
ordinals, k and M, numbers next to words whose meaning depends on the context.
"""

import unicodedata
from fractions import Fraction

import regex

from hra_workflow.tasks.math import number_words

SPACE = r"[^\S\n]"
MINUS = r"\-−–‐‑﹣－"
SEPARATORS = ",'’\u00a0\u2009\u202f"
DIGITS = rf"(?:(?:[1-9]\d{{0,2}}(?:[{SEPARATORS}]\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
FRACTION = rf"(?P<over>{DIGITS})\s?/\s?(?P<under>{DIGITS})"
LATEX_FRACTION = (
    rf"\\[cdt]?frac\s*(?:\{{\s*(?P<inner>[-+−]?)\s*(?P<over>{DIGITS})\s*\}}|(?P<over>\d))"
    rf"\s*(?:\{{\s*(?P<under>{DIGITS})\s*\}}|(?P<under>\d))"
)
WHOLE = rf"(?P<whole>{DIGITS})"
NUMERAL = rf"(?:{WHOLE}(?P<joined>\s+and)?\s+{FRACTION}|(?:{WHOLE}\s*)?{LATEX_FRACTION}|{FRACTION}|{WHOLE})"
# ISO 4217 codes of the most traded currencies, and the English abbreviations for rupees.
CODES = (
    "USD|EUR|JPY|GBP|CNY|RMB|AUD|CAD|CHF|HKD|SGD|SEK|KRW|NOK|NZD|INR|MXN|TWD|ZAR|BRL|DKK|PLN|THB|ILS|IDR|CZK|AED|TRY|"
    "HUF|CLP|SAR|PHP|MYR|COP|RUB|RON|PEN|NGN|PKR|EGP|VND|Rs|Re"
)
MONEY = rf"(?:(?<!\p{{L}})\p{{Lu}}{{0,3}}\p{{Sc}}|(?<![\p{{L}}\d])(?:{CODES})\b\.?|(?<![\p{{L}}\d])(?:{CODES})(?=\d))"
PREFIX = rf"(?:\s|(?P<sign>[+{MINUS}]|\b(?i:negative|minus|neg\b\.?|plus|positive)(?!\p{{L}}))|(?P<money>{MONEY}))*"
WORD = r"(?:\p{L}{1,4}\.|\p{L}[\p{L}\p{M}'’]*+)"
EXPONENT = r"(?:\^\{?-?[123]\}?|(?<=m|ft|in|yd)[23]|[²³])?"
UNIT = rf"(?:{SPACE}*+[-/·⋅]?{SPACE}*+(?:{WORD}{EXPONENT}|[%°℃℉′″'\"]|\p{{Sc}}))*?"
SCALE = rf"(?i:{'|'.join(sorted(number_words.SCALES, key=len, reverse=True))})(?![\p{{L}}-])"
OCLOCK = r"(?::00(?![\d:]))?"
BELOW = rf"(?:below|under|less{SPACE}+than){SPACE}+zero"
TAIL = (
    rf"{OCLOCK}(?:{SPACE}*(?P<scale>{SCALE})){{0,4}}(?P<unit>{UNIT})"
    rf"(?P<behind>{SPACE}+(?i:negative|{BELOW}))?"
)
QUANTITY = regex.compile(rf"{PREFIX}{NUMERAL}{TAIL}\s*")

# A number in a text with everything that affects its value: calculations, ranges, scales, signs.
NUMBER_WORDS = rf"(?i:{'|'.join(sorted(number_words.NUMBERS, key=len, reverse=True))})(?!\p{{L}})"
LATEX_NUMERAL = r"\\[cdt]?frac\s*(?:\{[^{}]*\}|\d)\s*(?:\{[^{}]*\}|\d)"
FIGURE = rf"(?:{LATEX_NUMERAL}|{DIGITS}){OCLOCK}[\w%°]*!*"  # 18! may be a factorial
OPERAND = rf"(?:\p{{Sc}}?{FIGURE}|{NUMBER_WORDS}(?:-\p{{L}}+)*)"
WORDS_BEFORE = rf"(?:(?<![\p{{L}}\d])(?:(?i:negative|minus|plus|neg\.?)|{NUMBER_WORDS})(?:{SPACE}+of)?{SPACE}+)*"
OPERATOR_BEFORE = (
    rf"(?:(?:\p{{L}}|[)}}\]]){SPACE}?[*×÷^·/+]{SPACE}?"  # x * 5
    rf"|[\p{{L}})}}\]][{MINUS}](?=[\d.])"  # x-5; the hyphen of "step - 5" is punctuation
    rf"|(?:(?<!\p{{L}})\p{{L}}|[)}}\]]){SPACE}[{MINUS}]{SPACE})?"  # x - 5
)
SIGNS_BEFORE = (
    rf"(?:(?<![\w)}}\]])[+{MINUS}±∓]|√|(?!\\[cdt]?frac)\\\p{{L}}+\s?[({{]?|(?P<money>{MONEY}){SPACE}?)*+"
    rf"(?:(?<=\b(?:{CODES})\.?)|(?<![\w.])(?<!\p{{L}}\^\{{?))"  # neither the 5 of B5 nor the exponent of m^2
)
OPERATION = (
    "and|or|to|through|by|times|plus|minus|mod|choose|to the power of|(?:multiplied|divided) by"
    "|(?:more|less|fewer|greater) than"
)
COMPOUND = (
    rf"(?:hours?|hrs?|minutes?|years?|feet|foot|ft|pounds?|lbs?|dollars?),?{SPACE}+{FIGURE}"
    rf"{SPACE}*(?:minutes?|mins?|seconds?|months?|inch(?:es)?|ounces?|oz|cents?)"
)
CONTINUED = (
    rf"(?:{SPACE}*[*×÷·^/+xX{MINUS}]{SPACE}*[({{]*[-+−]?{OPERAND}"  # 2*3, 10^{{3}}, 18-20
    rf"|[:,.'’(_{{]{FIGURE}|{SPACE}*{LATEX_NUMERAL}|-{NUMBER_WORDS}"  # 5:30, 1,23, 1\frac12
    rf"|{SPACE}+(?i:{OPERATION}){SPACE}+(?:an?{SPACE}+)?{OPERAND}"  # 18 to 20
    rf"|{SPACE}+{NUMBER_WORDS}(?:-\p{{L}}+)*|{SPACE}+(?=[\d,]+\s?/|\d{{3}}(?![\d-])){FIGURE}"  # 1 1/2, 10 000
    rf"|{SPACE}+\p{{L}}+{SPACE}+and{SPACE}+\p{{Sc}}?{FIGURE}"  # 18 dollars and 50 cents
    rf"|{SPACE}(?i:{COMPOUND})(?!\p{{L}}))*"  # 18 hours 30 minutes
)
SIGN_BEHIND = rf"(?:(?:{SPACE}*+[°%\p{{L}}]++){{0,2}}?{SPACE}+(?i:negative|minus|plus|{BELOW})(?!\p{{L}}))?"
PHRASE = regex.compile(f"{WORDS_BEFORE}{OPERATOR_BEFORE}{SIGNS_BEFORE}{FIGURE}{CONTINUED}{SIGN_BEHIND}")
NEXT_WORD = regex.compile(rf"{SPACE}+(\p{{L}}+)(?![&'’])")  # not the M of M&M's
FIRST_DIGIT = regex.compile(r"[\d\p{No}]")
LAST_DIGIT = regex.compile(rf"(?r){FIRST_DIGIT.pattern}")
REACH = 500  # characters on each side of a digit that are searched for its number
DENIED = regex.compile(
    r"(?:\bnot|n['’]t|\b(?:rather than|instead of))(?:\s+(?:be|equal to|exactly|just|only))?[\s$*]*$", regex.IGNORECASE
)

NOTATION = [
    (regex.compile(pattern), new)
    for pattern, new in (
        (r"\\(?:text|mbox|mathrm|mathbf|textrm|textbf|textit|operatorname)\s*\{([^{}]*)\}", r"\1"),
        (r"(?<![\w*])\*\*(?=\S)([^*\n]+)(?<=\S)\*\*(?![\w*])", r"\1"),  # bold in Markdown
        (r"(?<![\w}])\\boxed\s*\{([^{}]*)\}(?!\w|\\boxed)", r"\1"),
        (r"\{,\}", ","),
        (r"\\[!,;:]|\\(?:left|right)(?!\p{L})", ""),
        (r"\\(?:quad|qquad|space)(?!\p{L})|(?<!\\)\\ |(?<=\w)~", " "),
        (r"\\pounds(?!\p{L})", "£"),
        (r"\\euros?(?!\p{L})", "€"),
        (r"\\(\p{Sc}|%)", r"\1"),
        (r"\^\s*(?:\\circ(?!\p{L})|\{\s*\\circ\s*\})|\\degree(?!\p{L})", "°"),
        (r"\\times(?!\p{L})", "×"),
        (r"\\cdot(?!\p{L})", "·"),
        (r"\\div(?!\p{L})", "÷"),
        (r"\p{No}", lambda match: vulgar_fraction(match[0])),
    )
]


def plain(text: str) -> str:
    """Rewrite LaTeX's spaces, signs and words, Markdown's bold and characters like ½ as plain text."""
    for pattern, new in NOTATION:
        text = pattern.sub(new, text)
    return text


def vulgar_fraction(character: str) -> str:
    value = Fraction(unicodedata.numeric(character)).limit_denominator(100)
    return character if value.denominator == 1 else f" {value}"


def value(text: str, units: bool = True) -> Fraction | None:
    """Return the exact value of a text that consists of one quantity; without `units`, of one bare number."""
    match = QUANTITY.fullmatch(plain(text).strip().removesuffix("."))
    if not match:
        return None
    signs, money = match.captures("sign"), match.captures("money")
    unit = match["unit"]
    if len(signs) + bool(match["behind"]) > 1 or len(money) > 1 or ((unit.strip() or match["joined"]) and not units):
        return None
    words = regex.findall(r"[\p{L}'’×]+\.?", unit)
    amount = bool(money) and not unit.lstrip().startswith("/")  # $5 m, not $5/m
    if not all(number_words.is_unit(word, amount and place == 0) for place, word in enumerate(words)):
        return None
    try:
        number = numeral(match)
    except (ValueError, ZeroDivisionError):
        return None  # more digits than Python parses, a division by zero, or a mixed number with a fraction above 1
    for scale in match.captures("scale"):
        number *= number_words.SCALES[scale.lower()]
    negative = bool(match["behind"]) or any(sign[0] in MINUS or sign[0] in "nNmM" for sign in signs)
    return -number if negative else number


def numeral(match) -> Fraction:
    """Parse 1,234.5, a fraction of decimals, or a mixed number; raise ValueError or ZeroDivisionError if invalid."""

    def read(name: str) -> Fraction:
        return Fraction(regex.sub(rf"[{SEPARATORS}]", "", match[name]))

    if match["over"] is None:
        return read("whole")
    part = read("over") / read("under")
    if match["whole"] is None:
        return -part if match["inner"] in ("-", "−") else part
    whole = read("whole")
    if match["inner"] or whole.denominator > 1 or "." in match["over"] + match["under"] or not 0 < part < 1:
        raise ValueError(f"no mixed number: {match[0]}")
    return whole + part


def first(text: str) -> str | None:
    """Find the first number of a text, with everything that affects its value, for `value` to evaluate."""
    found = phrases(text, FIRST_DIGIT)
    return found[0] if found else None


def last(text: str) -> str | None:
    """Find the last number of a text, with everything that affects its value."""
    found = phrases(text, LAST_DIGIT)
    return found[-1] if found else None


def phrases(text: str, digit: regex.Pattern) -> list[str]:
    """List the numbers around a digit that the text does not deny (“not 18 but 19”)."""
    if not (place := digit.search(text)):
        return []
    text, found = plain(text[max(0, place.start() - REACH) : place.end() + REACH]), []
    for match in PHRASE.finditer(text):
        end = match.end()
        while (word := NEXT_WORD.match(text, end)) and number_words.is_number(word[1], bool(match["money"])):
            end = word.end()
        if not denied(text, match.start()):
            found.append(text[match.start() : end].strip())
    return found


def denied(text: str, place: int) -> bool:
    """Return whether “not” or a similar word precedes a position of a text."""
    return DENIED.search(text[max(0, place - 40) : place]) is not None
