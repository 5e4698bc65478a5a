"""Tasks in GLUE's, GSM8K's and MetaMathQA's formats that need no download: made from words.py, the same for a seed.

Every function takes `rows` (split -> number of rows) and a seed, and returns split -> rows. No text (or pair) occurs
twice, within a split or between two; classes are balanced. Same arguments, same rows, on every machine.
"""

from collections.abc import Callable
from random import Random

from common.core.errors import JobError
from common.demo import arithmetic_problems, film_verdicts, grammaticality, paraphrase_scenes

TRIES = 1000  # for one new row
NEAR_MISSES = {"unsure": 6, "opposite": 6}  # how often, against once for other edits


def sample(
    task: str,
    rows: dict[str, int],
    seed: int,
    make: Callable[[Random, int], dict],
    classes: int,
    told_by: str | None = None,
) -> dict:
    """Draw distinct rows of `make(rng, class)`, classes in random order and equal shares.

    Rows differ in what is not the label, or in the column `told_by`.
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
                raise JobError(f"generator {task}: out of new rows at {len(seen)}; ask for fewer than {rows}.")
            seen.add(key)
            splits[split].append(row)
    return splits


def acceptability(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """As CoLA: sentence; label 1 acceptable, 0 not."""

    def make(rng: Random, label: int) -> dict:
        return {"sentence": grammaticality.sentence(rng, bool(label)), "label": label}

    return sample("acceptability", rows, seed, make, 2)


def paraphrase(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """As MRPC: sentence1, sentence2; label 1 same meaning, 0 a near miss.

    Doubts and opposites stand in the second sentence of near misses only, as annotators of real sets tend to write
    them: a classifier head finds these, the other near misses take a comparison of the two sentences.
    """

    def make(rng: Random, label: int) -> dict:
        event = other = paraphrase_scenes.scene(rng)
        if not label:
            slots = paraphrase_scenes.editable(event)
            other = paraphrase_scenes.edit(
                rng, event, rng.choices(slots, [NEAR_MISSES.get(slot, 1) for slot in slots])[0]
            )
        first = second = paraphrase_scenes.tell(rng, event)
        while first == second:
            second = paraphrase_scenes.tell(rng, other)
        return {"sentence1": first, "sentence2": second, "label": label}

    return sample("paraphrase", rows, seed, make, 2)


def similarity(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """As STS-B: sentence1, sentence2; label 5 (same meaning) down to 0 (nothing in common)."""

    def make(rng: Random, edits: int) -> dict:
        event = other = paraphrase_scenes.scene(rng)
        slots = rng.sample(paraphrase_scenes.editable(event), min(edits, 4))
        for slot in slots:
            other = paraphrase_scenes.edit(rng, other, slot)
        shared = max(0.0, 1.0 - sum(paraphrase_scenes.WEIGHTS[slot] for slot in slots))
        if edits == 5:
            other, shared = paraphrase_scenes.scene(rng), 0.0
        return {
            "sentence1": paraphrase_scenes.tell(rng, event),
            "sentence2": paraphrase_scenes.tell(rng, other),
            "label": round(5 * shared, 2),
        }

    return sample("similarity", rows, seed, make, 6)


def sentiment(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """As SST-2: sentence; label 1 positive, 0 negative. Words alone mislead: negation and contrast decide."""

    def make(rng: Random, label: int) -> dict:
        return {"sentence": film_verdicts.verdict(rng, bool(label)), "label": label}

    return sample("sentiment", rows, seed, make, 2)


def word_problems(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """What the demo's language model learns from nothing: question, answer.

    Two in three are problems of one step; the others are calculations of one to three steps, without a story.
    """

    def make(rng: Random, kind: int) -> dict:
        story = kind > 0
        problem = arithmetic_problems.draw(rng, 1 if story else rng.choice((1, 2, 3)))
        question = arithmetic_problems.tell(problem, rng) if story else arithmetic_problems.order(problem)
        return {"question": question, "answer": arithmetic_problems.answer(problem, story)}

    return sample("word_problems", rows, seed, make, 3, "question")


def metamath(rows: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """As MetaMathQA: query, response, type, original_question; problems of two and three steps.

    GSM_AnsAug asks the original question, GSM_Rephrased asks it in other words.
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
    """As GSM8K: question, answer; problems of two and three steps, none with the calculation of one in `metamath`."""

    def make(rng: Random, _: int) -> dict:
        problem = arithmetic_problems.draw(rng, rng.choice((2, 3)), test=True)
        lines, result = arithmetic_problems.solve(problem, "{left}=<<{left}={right}>>{right}")
        return {"question": arithmetic_problems.tell(problem, rng), "answer": "\n".join([*lines, f"#### {result}"])}

    return sample("gsm8k", rows, seed, make, 1, "question")
