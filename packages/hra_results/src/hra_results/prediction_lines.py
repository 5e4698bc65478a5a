"""Lines of predictions.jsonl.gz: what they show of an item, and how much two of them differ."""

import math
from difflib import SequenceMatcher
from itertools import zip_longest

from hra_workflow.evaluators import registry
from hra_workflow.report.selections import TITLES


def change(first: dict, second: dict, score: str) -> float:
    """Return how much two predictions for an item differ; 0 if they are the same.

    Of answers: the fraction of words that differ, plus 1 if only one is correct. Of classes: the largest difference of
    a probability, or of the value of a regression, of any weights. Of others: the difference in the metric `score`.
    """
    if scored := [name for name in TITLES if name in first and name in second]:
        return max(
            abs(one - other)
            for name in scored
            for one, other in zip_longest(probabilities(first[name]), probabilities(second[name]), fillvalue=0.0)
        )
    if "output" in first:
        texts = [line["output"].split() for line in (first, second)]
        equal = texts[0] == texts[1] or SequenceMatcher(None, *texts, autojunk=False).ratio()
        return (first[score]["right"] != second[score]["right"]) + 1.0 - equal
    if "label" in first and score not in first:
        raise ValueError(f"{score} is not in the predictions")  # of another version
    values = [line.get(score) for line in (first, second)]
    if None in values:  # a blocked image, or one without a face, has no score
        return math.inf if values[0] != values[1] else 0.0
    return abs(values[0] - values[1])


def example(line: dict, dataset: dict) -> dict[str, str]:
    """Return the contents of a line for readers, by heading. dataset: `metrics`, and `columns` and `labels` if any."""
    scored = [name for name in TITLES if name in line]
    if not scored and "output" in line:
        graded = {name: "correct" if line[name]["right"] else "incorrect" for name in dataset["metrics"]}
        return {"prompt": line["prompt"], "response": line["output"], "correct answer": line["gold"]} | graded
    if not scored:
        scores = {name: line[name] for name in dataset["metrics"] if line.get(name) is not None}
        return {"prompt": line.get("prompt", "")} | {name: f"{value:.3g}" for name, value in scores.items()}
    labels = dataset["labels"]

    def readable(value: float) -> str:
        return f"{value:.4g}" if labels is None else labels[int(value)]

    def predicted(scores: list[float]) -> str:
        if len(scores) == 1:
            return readable(scores[0])
        of_classes = probabilities(scores)
        best = max(range(len(scores)), key=scores.__getitem__)
        return f"{readable(best)} ({of_classes[best]:.3f})"

    texts = {name: str(line[name]) for name in dataset["columns"]} | {"label": readable(line["label"])}
    return texts | {name: predicted(line[name]) for name in scored}


def probabilities(scores: list[float]) -> list[float]:
    """Return the probabilities of classes with these scores; a single score, the value of a regression, unchanged."""
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers] if len(scores) > 1 else scores


def recorded_comparison(settings: dict) -> dict:
    """Return `Task.comparison` as a metrics.json records it. settings: those of its entry `made_from`."""
    of_run = registry.of_run(settings.get("evaluators", []))
    return {"best_by": settings.get("evaluation", {}).get("best_by", []), "of_run": of_run}
