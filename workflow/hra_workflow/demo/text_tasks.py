"""Synthetic tasks in the formats of GLUE, GSM8K and MetaMathQA, without downloads and deterministic for a seed.

Every function takes `rows` (split -> number of rows) and a seed, and returns split -> rows. No text (or pair) occurs
twice, within or across splits; classes are balanced. The same arguments give the same rows on every machine.
"""

from collections.abc import Callable
from random import Random

from hra_workflow.core.errors import JobError
from hra_workflow.demo import arithmetic_problems, film_verdicts

TRIES = 1000  # attempts per new row


def sample(
    task: str,
    rows: dict[str, int],
    seed: int,
    make: Callable[[Random, int], dict],
    classes: int,
    told_by: str | None = None,
) -> dict:
    """Draw distinct rows of `make(rng, class)`, with balanced classes in random order.

    Rows differ in everything except the label, or in the column `told_by`.
    """
    seen, splits = set(), {}
    for split, count in rows.items():
        rng = Random(f"{task} {seed} {split}")
        order = [index % classes for index in range(count)]
        rng.shuffle(order)
        splits[split] = []
        for index in order:
            for _ in range(TRIES):
                row = make(rng, index)
                key = row[told_by] if told_by else tuple(value for column, value in row.items() if column != "label")
                if key not in seen:
                    break
            else:
                raise JobError(
                    f"generator {task}: expected {rows} distinct rows, found only {len(seen)}. Lower `rows`."
                )
            seen.add(key)
            splits[split].append(row)
    return splits


def sentiment(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """Generate a task like SST-2: sentence; label 1 positive, 0 negative, decided by negation and contrast."""

    def make(rng: Random, label: int) -> dict:
        return {"sentence": film_verdicts.verdict(rng, bool(label)), "label": label}

    return sample("sentiment", rows, seed, make, 2)


def metamath(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """Generate a dataset like MetaMathQA: query, response, type, original_question; two- and three-step problems.

    GSM_AnsAug has the original question, GSM_Rephrased a rephrased one.
    """

    def make(rng: Random, rephrased: int) -> dict:
        problem = arithmetic_problems.draw(rng, rng.choice((2, 3)))
        original = arithmetic_problems.tell(problem)
        return {
            "query": arithmetic_problems.tell(problem, rng) if rephrased else original,
            "response": arithmetic_problems.answer(problem),
            "type": "GSM_Rephrased" if rephrased else "GSM_AnsAug",
            "original_question": original,
        }

    return sample("metamath", rows, seed, make, 2, "original_question")


def gsm8k(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """Generate a dataset like GSM8K: question, answer; two- and three-step problems, none of them in `metamath`."""

    def make(rng: Random, _: int) -> dict:
        problem = arithmetic_problems.draw(rng, rng.choice((2, 3)), test=True)
        lines, result = arithmetic_problems.solve(problem, "{left}=<<{left}={right}>>{right}")
        return {"question": arithmetic_problems.tell(problem, rng), "answer": "\n".join([*lines, f"#### {result}"])}

    return sample("gsm8k", rows, seed, make, 1, "question")
