"""English words that are numbers or change the value of a number, derived by rules from their stems.

Every other word after a number is treated as a unit. "second" is a unit: as an ordinal it would be ambiguous with the
unit of time. "pair" and "couple" are units too, since they count two-part things (trousers, guests).
"""

import re
from fractions import Fraction

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ILLIONS = "million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
POWERS = {"hundred": 100, "thousand": 1000, "lakh": 10**5, "lac": 10**5, "crore": 10**7}
POWERS |= {word: 10 ** (3 * n) for n, word in enumerate(ILLIONS.split(), 2)}  # the short scale
CARDINALS = {word: value for value, word in enumerate(SMALL.split())} | POWERS
CARDINALS |= {word: 10 * n for n, word in enumerate(TENS.split(), 2)}
IRREGULAR = {"one": "first", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
ORDINALS = {
    IRREGULAR.get(word) or (f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th"): value
    for word, value in CARDINALS.items()
    if word != "two"
}
GROUPS = {"dozen": 12, "grand": 1000}
# Factor for a number that precedes the word: 5 million, 2 dozen, 18 hundredths.
SCALES = {
    **{f"{word}{plural}": Fraction(value) for word, value in (POWERS | GROUPS).items() for plural in ("", "s")},
    **{f"{word}s": Fraction(1, value) for word, value in ORDINALS.items() if value > 2},
    "halves": Fraction(1, 2),
}
# Words whose value depends on the context: three quarters or three coins, a gross or a gross profit.
UNCERTAIN = (
    "half quarter quarters score scores gross myriad myriads once twice thrice double triple quadruple nought naught "
    "nil pi π infinity mille permille hundredweight googol"
)
SUFFIXES = "st nd rd th ths"
CALCULATING = "squared cubed factorial x ×"
ABBREVIATIONS = "bn mn tn mln bln trn mil mils mill bil tril mio mrd tsd cr"
CASED_ABBREVIATIONS = {"k", "K", "M", "MM", "B", "T", "e", "E"}  # thousand, million, billion, trillion, power of ten
MONEY_ABBREVIATIONS = {"m", "mm", "b", "t", "g", "G", "l", "L"}  # million, billion, trillion, grand, lakh: after $5
SIGNS = "negative minus plus neg below under"
JOINING = "and or to base"
DOUBTING = "not approximately approx roughly wrong incorrect"

NUMBERS = {*CARDINALS, *(f"{word}s" for word in CARDINALS), *ORDINALS, *SCALES, *UNCERTAIN.split()}
CHANGING = NUMBERS.union(CALCULATING.split(), ABBREVIATIONS.split(), SUFFIXES.split())
NO_UNITS = {*SIGNS.split(), *JOINING.split(), *DOUBTING.split()}
OTHER = re.compile(r"(?:{}|)fold|\w*illi(?:on|ard)(?:e?s|en?|ths?)?".format("|".join(CARDINALS)))


def is_number(word: str, after_money: bool = False) -> bool:
    """Return whether a word after a number is itself a number, or denotes a calculation."""
    lower = word.lower()
    abbreviated = word in CASED_ABBREVIATIONS or (after_money and word in MONEY_ABBREVIATIONS)
    return abbreviated or lower in CHANGING or OTHER.fullmatch(lower) is not None


def is_unit(word: str, after_money: bool = False) -> bool:
    """Return whether a word after a number does not change its value."""
    word = word.rstrip(".")
    return not is_number(word, after_money) and word.lower() not in NO_UNITS
