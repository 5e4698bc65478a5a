"""Scoring of the images of a run with every evaluator of the config."""

import math
from collections.abc import Collection
from pathlib import Path

from hra_workflow.core import manifests, rates
from hra_workflow.core.errors import JobError
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
    for ending in (*found.images, *found.run):
        if ending not in evaluator.metrics:
            raise JobError(
                f"evaluator {entry['name']} ({entry['kind']}): expected the metrics {evaluator.metrics}, found "
                f"{ending!r}. Add it to the class's `metrics`."
            )
    if set(found.run) - set(evaluator.of_run):
        raise JobError(
            f"evaluator {entry['name']} ({entry['kind']}): expected scores of all images together for "
            f"{evaluator.of_run}, found them for {tuple(found.run)}. Add these to the class's `of_run`."
        )
    for ending, values in found.images.items():
        if len(values) != len(images):
            raise JobError(
                f"evaluator {entry['name']} ({entry['kind']}): expected {len(images)} scores {ending!r}, one per "
                f"image, found {len(values)}. Correct its `score`; use None for an image without a score."
            )
        if unknown := sum(value is not None and not math.isfinite(value) for value in values):
            raise JobError(
                f"evaluator {entry['name']} ({entry['kind']}): expected finite scores {ending!r}, found {unknown} that "
                "are NaN or infinite. Correct its `score`; use None for an image without a score."
            )
    return found, seconds
