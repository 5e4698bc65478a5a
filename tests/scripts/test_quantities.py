"""Numbers with signs, scales and units: a grammar, not a list, so most of these tests draw their own cases.

The oracle of each property is written here, from the numbers; it does not look into number_words.py.
"""

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hra_workflow.tasks.math import answers, expressions, quantities

quickly = settings(max_examples=80, deadline=None)

numbers = st.one_of(
    st.integers(1, 10**7),
    st.decimals("0.01", "99999", places=2).map(Fraction),
    st.fractions(Fraction(1, 99), 99, max_denominator=99),
)
# Names that mean nothing: two to four syllables. Three number words and no other fit the pattern.
syllable = st.tuples(st.sampled_from("bdfgklmnprtvz"), st.sampled_from("aeiou")).map("".join)
nonsense = st.lists(syllable, min_size=2, max_size=4).map("".join)
nonsense = nonsense.filter(lambda word: not any(number in word for number in ("five", "nine", "zero")))
REAL_UNITS = (
    "g kg mg L l mL ml h hr min s sec in ft yd mi mph km km/h m cm mm m^2 m² cm3 ft^{2} lbs lb oz °C °F ° % kWh USD "
    "EUR euros cents dollars apples percent per-cent points pairs couples seconds minutes inches degrees sq.ft. p.m. J"
)
units = st.one_of(nonsense, st.sampled_from(REAL_UNITS.split()), st.tuples(nonsense, nonsense).map("/".join))
phrases = st.one_of(units, st.tuples(units, st.sampled_from([" ", " per ", " of ", "-"]), nonsense).map("".join))
# Words that multiply, and by what. Where the meaning hangs on the context there is no value.
SCALES = {"hundred": 100, "thousand": 1000, "grand": 1000, "dozen": 12, "dozens": 12, "lakh": 10**5, "crore": 10**7}
SCALES |= {word: 1000**n for n, word in enumerate(["million", "billion", "trillion", "quadrillion"], 2)}
SCALES |= {"halves": Fraction(1, 2), "thirds": Fraction(1, 3), "eighths": Fraction(1, 8), "twelfths": Fraction(1, 12)}
SCALES |= {"tenths": Fraction(1, 10), "hundredths": Fraction(1, 100), "thousandths": Fraction(1, 1000)}
SCALES |= {"twentieths": Fraction(1, 20), "millionths": Fraction(1, 10**6), "hundred thousand": 10**5}
NO_VALUE = (
    "k K M B bn mil th st squared cubed quarters gross score half fifty forty-two seven first tenth hundredth fivefold "
    "tenfold zillion π pi twice double hundred-dollar million-dollar factorial x "
    "mio Mio Mrd milliards Millionen bil Tsd"
)
MINUS = ["-{}", "−{}", "- {}", "negative {}", "minus {}", "Negative {}", "{} negative", "{} below zero", "–{}"]
MINUS += ["{} degrees below zero", "{}°C below zero", "{} apples negative", "-${}", "$-{}", "negative ${}", "neg. {}"]
MINUS += ["{} less than zero", "{} degrees less than zero"]


def written(value: Fraction) -> str:
    """A number as most would write it."""
    shown = Fraction(value)
    decimal = shown.denominator > 1 and (shown * 100).denominator == 1
    return f"{float(shown):.2f}" if decimal else str(shown)


def verdicts(answer: str, gold: str) -> tuple[bool, bool]:
    """Strict and lenient on the trained form, lenient alone where the number is the last of a sentence."""
    graded = answers.grade("gsm8k", f"The answer is: {answer}", gold)
    last = answers.grade("gsm8k", f"Hence it comes to {answer}.", gold)
    assert graded["lenient"]["right"] == last["lenient"]["right"], answer
    return graded["strict"]["right"], graded["lenient"]["right"]


@given(numbers, phrases, st.sampled_from(["", " ", "-", "  "]))
@quickly
def test_a_unit_never_changes_a_value(value, unit, between):
    """Attached, with a space or a hyphen; whatever the word."""
    assume(between == " " or "/" not in written(value))  # 1/2/m
    assert quantities.value(f"{written(value)}{between}{unit}") == value


@given(numbers, st.sampled_from(sorted(SCALES)), st.sampled_from(["", " dollars", " of them"]))
@quickly
def test_a_scale_word_multiplies(value, scale, unit):
    assert quantities.value(f"{written(value)} {scale}{unit}") == value * SCALES[scale]
    assert quantities.value(f"{written(value)} {scale.title()}{unit}") == value * SCALES[scale]


@given(st.integers(2, 10**6), st.sampled_from([*SCALES, *NO_VALUE.split()]))
@quickly
def test_a_number_word_never_leaves_a_value_as_it_is(value, word):
    for answer in (f"{value} {word}", f"{value}{word}"):
        assert quantities.value(answer) == (value * SCALES[word] if word in SCALES else None)
        assert verdicts(answer, str(value)) == (False, False)


def test_a_number_word_never_leaves_the_value_of_an_expression():
    for word in [*SCALES, *NO_VALUE.split()]:
        for answer in (f"18 {word}", rf"18\text{{ {word}}}"):
            assert not expressions.same(answer, "18"), answer
            assert word not in SCALES or expressions.same(answer, str(18 * Fraction(SCALES[word]))), answer


@given(numbers, st.sampled_from(MINUS))
@quickly
def test_a_sign_in_any_form_is_read(value, form):
    text = form.format(written(value))
    assert quantities.value(text) == -value
    assert quantities.value(text.replace("-", "+").replace("−", "+").replace("–", "+")) in (value, -value)


def test_a_negative_answer_is_never_the_positive_one():
    for form in MINUS:
        strict, lenient = verdicts(form.format(5), "5")
        assert not strict and (not lenient or form == "- {}")  # In a sentence that hyphen is punctuation.
        assert quantities.value(form.format("-5")) is None  # two signs


@pytest.mark.parametrize("minus", "-−")
def test_a_sign_within_a_fraction_is_that_of_the_fraction(minus):
    assert quantities.value(rf"\frac{{{minus}3}}{{4}}") == Fraction(-3, 4)


DECIMAL_FORMS = r"N.|$N|¥N|N €|₹ N|USD N|US$N|Rs. N|\$N|$N$|\(N\)|+N|\boxed{N}|**N**|\text{N}|N\text{ cm}|N^\circ"


def formats(value: Fraction) -> list[str]:
    """Ways to write a positive number."""
    above, below = value.numerator, value.denominator
    whole, rest = divmod(above, below)
    ways = [f"{above}/{below}", rf"\frac{{{above}}}{{{below}}}", rf"\dfrac{{{above}}}{{{below}}}", f"{above} / {below}"]
    if rest and whole:
        ways += [f"{whole} {rest}/{below}", rf"{whole}\frac{{{rest}}}{{{below}}}", f"{whole} and {rest}/{below}"]
    if above < 10 and below < 10:
        ways += [rf"\frac{above}{below}", rf"\frac {above} {below}", rf"\tfrac{above}{{{below}}}"]
    if 10**4 % below == 0:
        decimal = f"{float(value):.4f}"
        short = decimal.rstrip("0").rstrip(".")
        ways += [short, decimal, f"{float(value):,.4f}"]
        ways += [form.replace("N", short) for form in DECIMAL_FORMS.split("|")]
    if below == 1:
        ways += [f"{above:,}".replace(",", separator) for separator in (",", "{,}", r",\!", "'", "\u202f")]
        ways += [f"{above:,}.00", f"${above:,}.00", f"{above:,} dollars"]
    return ways


@given(numbers)
@quickly
def test_every_way_of_writing_a_number_is_read_back(value):
    for text in formats(value):
        assert answers.number(text) == value, text


@given(st.integers(2, 99), st.integers(2, 99), st.sampled_from("*×^-–+:_,./"))
@quickly
def test_a_calculation_or_range_is_neither_of_its_numbers(left, right, operator):
    assume(operator != "/" or left % right != 0)
    for text in (f"{left}{operator}{right}", f"{left} {operator} {right}"):
        if operator in ":_,." and " " in text:
            continue  # punctuation there
        for gold in (left, right):
            assert verdicts(text, str(gold)) == (False, False), text


TOUCHED = [
    "18-20", "18 to 20", "18 or 20", "between 18 and 20", "18%-20%", "18 dollars and 50 cents", "18 and a half",
    r"18 \times 3", "18x3", "18(3)", "18^{3}", "1.8e1", r"\sqrt{18}", "√18", "±18", "x-18", "B - 18", "(a + b)/18",
    "half of 18", "18 k", "$18m", "18th", "18 hundred twenty", "18 minus 3", "twenty 18", "1,18", "18:30", "1.18:00",
    "18!", "18 Mio.", "18 less than 20", "18 mod 5", "18 divided by 2", "18 feet 6 inches", "18'06", "18 fold",
]  # fmt: skip


def test_a_number_is_read_with_all_that_touches_it():
    """None of these is 18, whole or in a sentence."""
    for text in TOUCHED:
        assert quantities.value(text) != 18, text
        assert verdicts(text, "18") == (False, False), text


@pytest.mark.parametrize(
    "answer, value, other",
    [
        ("not 18 but 19", "19", "18"),
        ("19 rather than $18", "19", "18"),
        ("3 boxes of 6, so 18", "18", "3"),
        ("1'000'000 of them", "1000000", "1"),
        ("5 degrees less than zero, he says", "-5", "5"),
    ],
)
def test_the_number_that_a_sentence_states(answer, value, other):
    for output in (f"The answer is: {answer}", f"It is this: {answer}"):
        assert [answers.grade("gsm8k", output, gold)["lenient"]["right"] for gold in (value, other)] == [True, False]


LAST = {
    "He has 7 and gives 2, so 18 apples are left.": "18",
    "The number of 5 dollar bills is 18 - a lot.": "18",
    "They need an **18**-inch pizza!": "18",
    "It was 18 degrees below zero.": "-18",
    "So x = 6 * 3 = $18.00.": "18",
    "There are:\n- 18 apples": "18",
    "It takes 1½ hours": "3/2",
    r"We need \frac{3}{4} of it": "0.75",
    "The drive can store 18 200-kilobyte videos": "200",
    "They have to leave by 5:00 pm.": "5",
}


def test_the_last_number_of_a_text():
    for sentence, value in LAST.items():
        assert answers.grade("gsm8k", sentence, value)["lenient"]["right"], sentence


VALUELESS = ["9" * 5000, "1/0", "1 3/2", "1,23", "1234,567", "10 000", "x", "", "-", "5 " + "a " * 5000 + "!"]


def test_what_has_no_value():
    assert [text for text in [*VALUELESS, "5 million" + " million" * 50] if quantities.value(text) is not None] == []
    # In an expression, letters are variables.
    assert [quantities.value(text, units=False) for text in ("5x", "2m", "5 apples")] == [None] * 3
