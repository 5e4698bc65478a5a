"""Scoring of the images of a run with every evaluator of the config."""

import math
from collections.abc import Collection
from pathlib import Path

from hra_workflow.core import manifests, rates
from hra_workflow.core.errors import expect
from hra_workflow.core.job import as_list
from hra_workflow.evaluators import registry
from hra_workflow.evaluators.protocol import Evaluator, Reference, Scores


def score(
    job: dict, device: str, entries: list[dict], parts: list[tuple[Collection, Reference, list[dict]]]
) -> dict[str, dict[str, float]]:
    """Add the scores of each image to its row, and return the metrics that are not means over images.

    parts: images, their references, and their rows. A metric that is not a mean over images needs one part.
    """
    parts = [part for part in parts if len(part[0])]
    paths = [Path(path) for path in as_list(job["input"].get("models"))]
    models = {path.name.removesuffix(".manifest.json"): path for path in paths}
    of_run, seconds = {}, 0.0
    for entry in entries if parts else ():
        if registry.find(entry["kind"]).needs.prompts and not parts[0][1].prompts:
            continue
        manifest = models[entry["model"]] if "model" in entry else None
        evaluator = registry.load(entry, manifest and manifests.folder(manifest), device)
        for images, reference, rows in parts:
            found, taken = scores(entry, evaluator, images, reference)
            seconds += taken
            for ending, values in found.images.items():
                for row, value in zip(rows, values, strict=True):
                    row[entry["name"] + ending] = value
            of_run |= {entry["name"] + ending: value for ending, value in found.run.items()}
    rates.report(sum(len(images) for images, *_ in parts), seconds, device)
    return of_run


def scores(entry: dict, evaluator: Evaluator, images: Collection, reference: Reference) -> tuple[Scores, float]:
    """Run one evaluator and return its scores and seconds.

    Raises JobError unless it returns one score per image, for metrics declared by its class.
    """
    from tqdm import tqdm

    started = rates.clock()
    found = evaluator.score(tqdm(images, desc=entry["name"], unit="image", disable=None), reference)
    seconds = rates.clock() - started
    where = f"evaluator {entry['name']} ({entry['kind']})"
    for declared, listed in {"metrics": [*found.images, *found.run], "of_run": [*found.run]}.items():
        missing = [ending for ending in listed if ending not in getattr(evaluator, declared)]
        expect(not missing, f"{where}: expected scores that its `{declared}` declare, found {missing}. Add them there")
    for ending, values in found.images.items():
        unknown = [value for value in values if value is not None and not math.isfinite(value)]
        expect(
            len(values) == len(images) and not unknown,
            f"{where}: expected {len(images)} finite scores {ending!r}, one per image, found {len(values)}, "
            f"{len(unknown)} of them NaN or infinite. Use None for an image without a score",
        )
    return found, seconds
