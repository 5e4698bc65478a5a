"""Scores of a classification per class."""

from collections.abc import Iterable

import pandas as pd


def scores(pairs: Iterable[tuple[float, int]], labels: list[str]) -> list[dict]:
    """Return per class `name`, `count` of items, precision, recall, F1, and the most frequent wrong prediction.

    pairs: label and predicted class of every item. A score without items is None.
    """
    every = pd.DataFrame(pairs, columns=["label", "predicted"]).astype(int)
    classes = range(len(labels))
    counts = pd.crosstab(every["label"], every["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    found = []
    for index, name in enumerate(labels):
        items, predicted, correct = counts.loc[index].sum(), counts[index].sum(), counts.loc[index, index]
        others = counts.loc[index].drop(index)
        found.append(
            {
                "name": name,
                "count": int(items),
                "precision": correct / predicted if predicted else None,
                "recall": correct / items if items else None,
                "f1": 2 * correct / (items + predicted) if items + predicted else None,
                "instead": f"{labels[others.idxmax()]} ({others.max()})" if others.max() else "–",
            }
        )
    return found
