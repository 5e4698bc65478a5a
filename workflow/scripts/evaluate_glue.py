"""Evaluate a run's last weights and those with the best score in training on one benchmark of a GLUE-format dataset.

If the training job has evaluated them (hra_workflow/core/early_evaluations.py), only copy its results.
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
    from pyarrow import parquet

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

    texts = parquet.read_table(data_folder / f"{split}.parquet", columns=dataset["columns"])
    write_predictions(Path(job["output"]["predictions"]), texts.to_pydict(), labels, dataset["labels"], scores)
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


def readable(scores, names: list[str] | None) -> dict[str, list]:
    """Return the columns `prediction` and `p_{class}` for scores (n, outputs) of classes with these names.

    None: of a regression, `prediction` is the value and the only column.
    """
    import torch

    if names is None:
        return {"prediction": scores[:, 0].tolist()}
    probabilities = torch.from_numpy(scores).double().softmax(1)
    columns = {f"p_{name}": probabilities[:, index].tolist() for index, name in enumerate(names)}
    return {"prediction": [names[index] for index in probabilities.argmax(1)]} | columns


def write_predictions(path: Path, texts: dict[str, list], labels, names: list[str] | None, scores: dict) -> None:
    """Write one JSON line per item: texts, label and prediction as `hra-workflow predict` writes them, and all scores.

    The prediction is that of the best weights, `hra-workflow predict`'s default. `label` is a class's index, `last` and
    the name of the other selection are the scores, which comparisons read. They precede a text column of that name.
    """
    named = {"label_name": [names[label] for label in labels]} if names else {}
    *_, best = scores.values()
    columns = texts | named | readable(best, names)

    def line(item: int) -> dict:
        shown = {name: values[item] for name, values in columns.items()}
        shown |= {name: round(value, 6) for name, value in shown.items() if isinstance(value, float)}
        made = {name: some[item].round(6).tolist() for name, some in scores.items()}
        return {"item": item} | shown | {"item": item, "label": labels[item].item()} | made

    predictions.write(path, map(line, range(len(labels))))


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skip_diverged)
