"""The grader `PEFT`: the rules of PEFT's MetaMathQA benchmark, for a column that is comparable with its accuracies.

Source: huggingface/peft, method_comparison/MetaMathQA/utils.py, `parse_answer` and `get_accuracy`, commit 0134244. An
answer is the rest of the line after the last marker, and is compared as a decimal number or a fraction, else as text. A
number with a thousands separator is not read as a number: 1,000 equals 1,000 but not 1000. PEFT also searches the
prompt for the marker, which occurs in no question of GSM8K.
"""

from decimal import Decimal

from hra_workflow.tasks.math.graders import Grader, only

# MetaMathQA's and GSM8K's; the first of these that a text contains is used, regardless of positions.
MARKS = ("The answer is: ", "The answer is ", "The final answer is: ", "The final answer is ", "#### ")


def answer(style: str, output: str) -> str | None:
    """Extract the answer of an output; None without a marker."""
    text = output.strip().rstrip(".!?")
    mark = next((mark for mark in MARKS if mark in text), None)
    return None if mark is None else first_line(text.rpartition(mark)[2])


def first_line(text: str) -> str:
    """Return the first line without the punctuation and the signs around it."""
    return text.strip().split("\n", 1)[0].strip(" .!?$%")


def right(style: str, answer: str, gold: str) -> bool:
    """Return whether an answer equals the reference, as a number if both are numbers, else as text."""
    gold = first_line(gold.rstrip(".!?"))
    found, wanted = number(answer), number(gold)
    return (answer if found is None else found) == (gold if wanted is None else wanted)


def number(text: str) -> float | None:
    """Return the value of a decimal number or of a fraction of two; None for any other text."""
    try:
        above, *below = map(Decimal, map(str.strip, text.split("/")))
        if len(below) > 1:
            return None
        return float(above / below[0] if below else above)
    except (ArithmeticError, ValueError):
        return None


PEFT = Grader(only(answer), right)
