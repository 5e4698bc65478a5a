"""The held-out fraction of training data: rows that are not trained on, but select a checkpoint or hyper-parameters."""

from collections.abc import Iterator

import numpy as np

from hra_workflow.core.errors import expect


def split(
    labels: np.ndarray,
    classes: list[str] | None,
    share: float,
    rows: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices, ascending, of the rows to train on and of the held-out rows.

    labels: (n,), indices of `classes`, whose proportions are kept; classes None: any values. share: the fraction held
    out. rows: the maximum number of held-out rows. The split depends only on the labels and these arguments. Raises
    JobError if a class is missing in one of the parts.
    """
    random = np.random.default_rng(seed)
    order = [random.permutation(group) for group in groups(labels, classes)]
    fraction = min(share, (rows or len(labels)) / len(labels))
    counts = [round(fraction * len(group)) for group in order]
    held_out = [group[:count] for group, count in zip(order, counts, strict=True)]
    kept = [group[count:] for group, count in zip(order, counts, strict=True)]
    for what, part in (("held out", held_out), ("left to train on", kept)):
        for name, group, chosen in zip(classes or ["any value"], order, part, strict=True):
            expect(
                len(chosen) > 0,
                f"held_out: no row of class {name!r} is {what}: {fraction:.4g} of its {len(group)} training rows are "
                "held out, so that the rest is trained on. Change held_out.share or held_out.rows",
            )
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def groups(labels: np.ndarray, classes: list[str] | None) -> Iterator[np.ndarray]:
    """Yield the indices of the rows of each class; of all rows if there are no classes."""
    if classes is None:
        yield np.arange(len(labels))
    else:
        yield from (np.flatnonzero(labels == index) for index in range(len(classes)))
