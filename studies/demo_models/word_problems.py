"""The training data of the demo's language model: word problems, and the same calculations without a story."""

from random import Random

from hra_workflow.demo import arithmetic_problems, text_tasks
from hra_workflow.demo.arithmetic_problems import OPERATIONS, SIGNS, Problem

ORDERS = {"+": "Add {n}.", "-": "Subtract {n}.", "*": "Multiply by {n}.", "/": "Divide by {n}."}


def word_problems(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """Generate rows of question and answer.

    Two thirds are one-step problems; the others are calculations with one to three steps, without a story.
    """

    def make(rng: Random, kind: int) -> dict:
        if kind == 0:
            return calculation(arithmetic_problems.draw(rng, rng.choice((1, 2, 3))))
        problem = arithmetic_problems.draw(rng, 1)
        return {"question": arithmetic_problems.tell(problem, rng), "answer": arithmetic_problems.answer(problem)}

    return text_tasks.sample("word_problems", rows, seed, make, 3, "question")


def calculation(problem: Problem) -> dict:
    """Write a problem's calculation without a story, and its solution."""
    orders = [ORDERS[SIGNS[name]].format(n=n) for name, n in problem.steps]
    value, lines = problem.start, []
    for name, n in problem.steps:
        left = f"{value}{SIGNS[name]}{n}"
        value = OPERATIONS[SIGNS[name]](value, n)
        lines.append(f"{left}={value}")
    question = " ".join([f"Take {problem.start}.", *orders, "What is the result?"])
    return {"question": question, "answer": arithmetic_problems.metamath(lines, value)}
