"""Compare a run's images of class prompts with those of the base model from the same noise, to measure forgetting.

Per pair, each evaluator compares the run's image with the base model's as its only reference image; the metric has the
evaluator's name. The standard error is over prompts.
"""

import time
from pathlib import Path

from hra_workflow.core import diverged_runs, made_by, manifests, predictions, provenance, records
from hra_workflow.core.job import as_list, start
from hra_workflow.data import images
from hra_workflow.evaluators import aggregation, registry
from hra_workflow.evaluators.protocol import Evaluator, Reference


def main(job: dict) -> None:
    started = time.monotonic()
    params, inputs = job["params"], job["input"]
    record = records.read(inputs["record"])
    device = provenance.pick_device(job)
    check(job, record)
    base, changed = (list(images.unpack(inputs[name])) for name in ("base", "images"))
    rows = [{"key": one.key, "step": record["steps"]} | one.about for one in changed]
    models = {Path(path).name.removesuffix(".manifest.json"): path for path in as_list(inputs.get("models"))}
    names = [entry["name"] for entry in params["evaluators"]]
    for entry in params["evaluators"]:
        folder = manifests.folder(models[entry["model"]]) if "model" in entry else None
        values = likeness(registry.load(entry, folder, device), base, changed)
        for row, value in zip(rows, values, strict=True):
            row[entry["name"]] = value
    predictions.write(job["output"]["predictions"], rows)
    prompts = 1 + max(row["prompt_index"] for row in rows)
    metrics = aggregation.summary(aggregation.last(aggregation.table(rows, names, prompts)))
    selections = {"last": {"step": record["steps"], "metrics": metrics}}
    predictions.write_metrics(job, started, device, record, len(rows), names[0], selections)
    print(f"{len(rows)} pairs of images: " + ", ".join(f"{name} {metrics[name]['value']:.4f}" for name in metrics))


def check(job: dict, record: dict) -> None:
    """Raise JobError unless both archives match the config; the base model's archive is made once per dataset."""
    wildcards, params = job["wildcards"], job["params"]
    of_dataset = {name: wildcards[name] for name in ("task", "dataset")}
    asked = {"base": (of_dataset, params["base_generated"]), "images": (wildcards, params["generated"])}
    for name, made in asked.items():
        path = job["input"][name]
        made_by.check_generated(path, images.made_by(path), record, *made)


def likeness(evaluator: Evaluator, base: list, changed: list) -> list[float]:
    """Score each image against the base model's image of the pair."""
    from tqdm import tqdm

    found = []
    for first, second in tqdm(list(zip(base, changed, strict=True)), unit="pair", disable=None):
        scores = evaluator.score([second.image], Reference(images=[first.image], groups=[0])).images.values()
        found += next(values for values in scores if values != [None])  # one image per prompt has no diversity
    return found


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skip_diverged)
