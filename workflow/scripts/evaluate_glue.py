"""Evaluate a run's last weights and those with the best score in training on one benchmark of a GLUE-format dataset.

If the training job has evaluated them (hra_workflow/core/early_evaluations.py), only take over its results.
"""

import time
from pathlib import Path

from hra_workflow.core import (
    diverged_runs,
    early_evaluations,
    fingerprints,
    manifests,
    predictions,
    provenance,
    rates,
    records,
)
from hra_workflow.core.job import start
from hra_workflow.models import adapters, classifier
from hra_workflow.models.precision import dtype


def main(job: dict) -> None:
    record = records.read(job["input"]["record"])
    manifests.check_trained_on(record, job["input"]["model"])
    manifests.check_weights(record, job["input"]["record"], job["input"]["last"], job["input"]["best"])
    if not early_evaluations.take(job, record):
        evaluate(job, record, job["input"]["last"], job["input"]["best"])


def evaluate(job: dict, record: dict, last: str | Path, best: str | Path) -> None:
    """Write metrics and predictions of a run with this record; `last` and `best` are its weights."""
    import numpy as np

    from hra_workflow.tasks.glue import metrics

    started = time.monotonic()
    params = job["params"]
    dataset, settings = params["dataset"], record["hyperparameters"]
    device = provenance.pick_device(job)
    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    tokenizer = classifier.load_tokenizer(model_folder)
    split = dataset["split"]
    data = classifier.tokenized(data_folder, split, dataset["columns"], tokenizer, settings["max_length"])
    labels, inputs = np.asarray(data["labels"]), data.remove_columns("labels")
    batch_size = params.get("eval_batch_size") or settings["batch_size"]

    selections, scores = {}, {}
    for selection, weights, step in (
        ("last", last, record["steps"]),
        ("best_on_held_out" if "held_out" in settings else "best_on_dev", best, record["best_step"]),
    ):
        if step == record["steps"] and selections:
            selections[selection], scores[selection] = selections["last"], scores["last"]
            continue
        model, _ = classifier.load_model(model_folder, dataset["labels"], record["seed"])
        model = adapters.load(model, params["method"], Path(weights).parent).to(device)
        scores[selection] = logits(model, inputs, tokenizer, settings["precision"], batch_size, device)
        if unknown := int((~np.isfinite(scores[selection])).any(axis=1).sum()):
            raise FloatingPointError(f"{weights}: no finite scores for {unknown} of {len(labels)} items of {split}")
        predicted = metrics.predictions(scores[selection], dataset["labels"])
        found = metrics.values_with_errors(dataset["metrics"], labels, predicted)
        selections[selection] = {"step": step, "metrics": found}

    write_predictions(Path(job["output"]["predictions"]), labels, scores)
    how = {"evaluated_as": fingerprints.digest(dataset)}
    predictions.write_metrics(job, started, device, record, len(labels), dataset["score"], selections, **how)


def logits(model, data, tokenizer, precision: str, batch_size: int, device: str):
    """Compute a model's float32 scores (n, outputs) on tokenized data without labels, in the order of the data."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from tqdm import tqdm
    from transformers import DataCollatorWithPadding

    order = classifier.by_length(data)
    loader = DataLoader(
        data.select(order),
        batch_size=batch_size,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )
    autocast = torch.autocast(device, dtype(precision), enabled=precision != "float32")
    parts, started = [], rates.clock()
    with torch.inference_mode(), autocast:
        for batch in tqdm(loader, desc="evaluate", disable=None):
            parts.append(model(**batch.to(device)).logits.float().cpu().numpy())
    rates.report(len(data), rates.clock() - started, device)
    result = np.empty_like(np.concatenate(parts))
    result[order] = np.concatenate(parts)
    return result


def write_predictions(path: Path, labels, scores: dict) -> None:
    """Write one JSON line per item: index, label and each selection's scores."""
    predictions.write(
        path,
        (
            {"item": i, "label": label.item()} | {name: s[i].round(6).tolist() for name, s in scores.items()}
            for i, label in enumerate(labels)
        ),
    )


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skip_diverged)
