"""Scoring of the images of a run with every evaluator of the config."""

import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

from common.core import files, fingerprints, manifests, provenance, rates
from common.core.errors import JobError
from common.core.job import as_list
from common.evaluators import registry
from common.evaluators.protocol import Reference, Scores


def score(
    job: dict, device: str, entries: list[dict], images: Collection, reference: Reference, rows: list[dict]
) -> dict[str, dict[str, float]]:
    """Add the scores of each image to its row, and return the metrics that are not means over images.

    Scores of an interrupted job are read from the job's scratch folder.
    """
    paths = [Path(path) for path in as_list(job["input"].get("models"))]
    models = {path.name.removesuffix(".manifest.json"): path for path in paths}
    of_run, seconds = {}, 0.0
    for entry in entries if len(images) else ():
        if registry.find(entry["kind"]).needs.prompts and not reference.prompts:
            continue
        manifest = models[entry["model"]] if "model" in entry else None
        path = cache(job, entry, manifest, reference)
        if not path.exists():
            known = replace(reference, kept=kept(job, entry, manifest, device))
            found, taken = scores(entry, manifest, device, images, known)
            files.write_json(path, asdict(found))
            seconds += taken
        found = Scores(**files.read_json(path))
        for ending, values in found.images.items():
            for row, value in zip(rows, values, strict=True):
                row[entry["name"] + ending] = value
        of_run |= {entry["name"] + ending: value for ending, value in found.run.items()}
    rates.report(len(images), seconds, device)
    return of_run


def cache(job: dict, entry: dict, manifest: Path | None, reference: Reference) -> Path:
    """Return the cache file of one evaluator's scores, named after a hash of everything they depend on."""
    inputs = [files.sha256(job["input"][name]) for name in ("images", "dataset") if job["input"].get(name)]
    weights = files.read_json(manifest)["sha256"] if manifest else None
    prompts = [list(reference.prompts), list(reference.class_prompts)]
    digest = fingerprints.digest([entry, weights, inputs, *prompts, job["params"]["task_version"]])
    return Path(job["params"]["scratch"]) / "scores" / f"{entry['name']}-{digest}.json"


def kept(job: dict, entry: dict, manifest: Path | None, device: str) -> Path:
    """Return the file next to the dataset's manifest for what one evaluator computes from the real images alone.

    It is named after a hash of everything that this depends on, including its last digits.
    """
    dataset = Path(job["input"]["dataset"])
    weights = files.read_json(manifest)["sha256"] if manifest else None
    place = [
        provenance.device_name(device),
        *map(provenance.version, ("torch", "torchmetrics", "transformers", "pillow")),
    ]
    digest = fingerprints.digest(
        [entry, weights, fingerprints.of_input(str(dataset)), job["params"]["task_version"], *place]
    )
    folder = dataset.with_name(f"{dataset.name.removesuffix('.manifest.json')}.features")
    return folder / f"{entry['name']}-{digest}.safetensors"


def scores(
    entry: dict, manifest: Path | None, device: str, images: Collection, reference: Reference
) -> tuple[Scores, float]:
    """Run one evaluator and return its scores and seconds.

    Raises JobError unless it returns one score per image, for metrics declared by its class.
    """
    from tqdm import tqdm

    evaluator = registry.load(entry, manifest and manifests.folder(manifest), device)
    started = time.monotonic()
    found = evaluator.score(tqdm(images, desc=entry["name"], unit="image", disable=None), reference)
    seconds = time.monotonic() - started
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
    return found, seconds
