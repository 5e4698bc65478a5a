"""Word problems about numbers of things that people own: one step, or several as in GSM8K.

A Problem is the meaning; `tell` chooses one of its wordings, `solve` computes the solution. All numbers are between 2
and 99.
"""

import hashlib
import operator
from dataclasses import dataclass
from random import Random

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry")
GOODS = ("keys", "cups", "maps", "coins", "books", "cards", "apples", "stamps")

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
# The operation of a step. Some introduce the next person; the last two can only be the final step.
SIGNS = {"gain": "+", "lose": "-", "more": "+", "fewer": "-", "times": "*", "share": "/", "together": "+"}
WITH_NEXT_PERSON = ("more", "fewer", "times", "together")
LAST_ONLY = ("share", "together")

START = ("{who} has {n} {things}.", "{who} starts with {n} {things}.")
STEPS = {
    "gain": ("{who} finds {n} {things}.", "{who} buys {n} {things}.", "{who} gets {n} more {things}."),
    "lose": ("{who} loses {n} {things}.", "{who} sells {n} {things}.", "{who} gives away {n} {things}."),
    "more": ("{who} has {n} more {things} than {other}.", "{who} has as many {things} as {other} and {n} more."),
    "fewer": ("{who} has {n} fewer {things} than {other}.", "{who} has as many {things} as {other} but {n} fewer."),
    "times": (
        "{who} has {n} times as many {things} as {other}.",
        "For each of the {things} of {other}, {who} has {n}.",
    ),
    "share": (
        "{who} divides the {things} equally among {n} boxes.",
        "{who} puts the {things} into {n} boxes, the same number in each.",
    ),
    "together": ("{who} has {n} {things}.", "{who} starts with {n} {things}."),
}
QUESTIONS = {
    "share": ("How many {things} are in each box?", "What is the number of {things} in each box?"),
    "together": (
        "How many {things} do {other} and {who} have together?",
        "What is the number of {things} that {other} and {who} have together?",
    ),
}
QUESTION = ("How many {things} does {who} have?", "What is the number of {things} that {who} has?")
SOLUTIONS = {"share": "Each box has {result} {things}.", "together": "Together they have {result} {things}."}
SOLUTION = "{who} has {result} {things}."


@dataclass(frozen=True)
class Problem:
    people: tuple[str, ...]  # in the order of their appearance
    things: str
    start: int  # the first person's number
    steps: tuple[tuple[str, int], ...]  # names in SIGNS with their numbers


def draw(rng: Random, length: int, test: bool = False) -> Problem:
    """Draw a problem of `length` steps, for test sets or for everything else."""
    while True:
        problem = invent(rng, length)
        if held_out(problem) == test:
            return problem


def held_out(problem: Problem) -> bool:
    """Return whether a problem is reserved for test sets: one in eight, so that no test calculation is in training."""
    chain = [(SIGNS[name], n) for name, n in problem.steps]
    return len(chain) > 1 and hashlib.sha256(f"{problem.start} {chain}".encode()).digest()[0] < 32


def invent(rng: Random, length: int) -> Problem:
    start = value = rng.randint(2, 20)
    steps: list[tuple[str, int]] = []
    while len(steps) < length:
        name = rng.choice([name for name in SIGNS if name not in LAST_ONLY or len(steps) == length - 1])
        if choices := numbers(SIGNS[name], value):
            steps.append((name, rng.choice(choices)))
            value = OPERATIONS[SIGNS[name]](value, steps[-1][1])
    return Problem(tuple(rng.sample(NAMES, length + 1)), rng.choice(GOODS), start, tuple(steps))


def numbers(sign: str, value: int) -> list[int]:
    """List the possible operands after `value` and the sign: the result must be an integer between 2 and 99."""
    if sign == "/":
        return [n for n in range(2, 10) if value % n == 0 and value > n]
    return [n for n in range(2, 6 if sign == "*" else 21) if 2 <= OPERATIONS[sign](value, n) <= 99]


def cast(problem: Problem) -> list[dict[str, str]]:
    """Return, per step, the names in its sentence."""
    people = iter(problem.people)
    who = other = next(people)
    parts = []
    for name, n in problem.steps:
        if name in WITH_NEXT_PERSON:
            who, other = next(people), who
        parts.append({"who": who, "other": other, "things": problem.things, "n": n})
    return parts


def tell(problem: Problem, rng: Random | None = None) -> str:
    """Write the problem in words: the first wording of each sentence, or one chosen by `rng`."""
    pick = rng.choice if rng else lambda wordings: wordings[0]
    parts, names = cast(problem), [name for name, _ in problem.steps]
    first = {"who": problem.people[0], "things": problem.things, "n": problem.start}
    sentences = [pick(START).format(**first)]
    sentences += [pick(STEPS[name]).format(**part) for name, part in zip(names, parts, strict=True)]
    return " ".join([*sentences, pick(QUESTIONS.get(names[-1], QUESTION)).format(**parts[-1])])


def solve(problem: Problem, form: str) -> tuple[list[str], int]:
    """Return one line per step and the answer; `form` is the template of a calculation with {left} and {right}."""
    value, lines = problem.start, []
    for (name, n), part in zip(problem.steps, cast(problem), strict=True):
        left = f"{value}{SIGNS[name]}{n}"
        value = OPERATIONS[SIGNS[name]](value, n)
        lines.append(SOLUTIONS.get(name, SOLUTION).format(**part, result=form.format(left=left, right=value)))
    return lines, value


def answer(problem: Problem) -> str:
    """Write the solution in MetaMathQA's format."""
    return metamath(*solve(problem, "{left}={right}"))


def metamath(lines: list[str], result: int) -> str:
    return "\n".join([*lines, f"#### {result}", f"The answer is: {result}"])
