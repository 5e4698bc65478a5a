"""Compute a run's metrics on one benchmark of a GLUE-format dataset: of its last weights, and of the best in training.

The training job has written the scores of the items (RUN/scores). For a split that was not a benchmark then, this job
loads the weights and computes them.
"""

import time
from pathlib import Path

from hra_workflow.core import finished_run, manifests, predictions, provenance, rates
from hra_workflow.core.job import script
from hra_workflow.models import adapters, classifier
from hra_workflow.models.precision import dtype


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    import numpy as np
    from pyarrow import parquet

    from hra_workflow.tasks.glue import metrics

    started, params = time.monotonic(), job["params"]
    inputs, dataset = job["input"], params["dataset"]
    split, columns = dataset["split"], dataset["columns"]
    record = finished_run.read(job, inputs["last"], inputs["best"])
    scored, data_folder = Path(inputs["scores"], f"{split}.safetensors"), manifests.folder(inputs["dataset"])
    table = parquet.read_table(data_folder / f"{split}.parquet", columns=[*columns, "label"])
    labels, device = np.asarray(table["label"].to_pylist()), "cpu"
    if scored.exists():
        manifests.check_weights(record, inputs["record"], scored)
        scores = read_scores(scored)
    else:
        device = provenance.pick_device(job)
        weights = {"last": inputs["last"], "best": inputs["best"]}
        scores = compute_scores(job, record, weights, split, device)

    held_out = "held_out" in record["hyperparameters"]
    titles = {"last": "last", "best": "best_on_held_out" if held_out else "best_on_dev"}
    selections = {}
    for name, step in (("last", record["steps"]), ("best", record["best_step"])):
        predicted = metrics.predictions(scores[name], dataset["labels"])
        found = metrics.values_with_errors(dataset["metrics"], labels, predicted)
        selections[titles[name]] = {"step": step, "metrics": found}

    shown = {titles[name]: scores[name] for name in titles}
    texts = table.select(columns).to_pydict()
    write_predictions(Path(job["output"]["predictions"]), texts, labels, dataset["labels"], shown)
    predictions.write_metrics(job, started, device, record, len(labels), dataset["score"], selections)


def compute_scores(job: dict, run: dict, weights: dict, split: str, device: str) -> dict:
    """Compute the scores (items, outputs) of a split, float32, in the order of the data, by selection.

    job: of the training or the evaluation. run: `seed`, `hyperparameters`, `steps` and `best_step`, as in its record.
    weights: the files of the selections `last` and `best`. Raise FloatingPointError for scores that are not finite.
    """
    import numpy as np

    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    dataset, method, settings = job["params"]["dataset"], job["params"]["method"], run["hyperparameters"]
    tokenizer = classifier.load_tokenizer(model_folder)
    batch_size = job["params"]["eval_batch_size"] or settings["batch_size"]
    data = classifier.tokenized(data_folder, split, dataset["columns"], tokenizer, settings["max_length"])
    found: dict = {}
    for name, path in weights.items():
        if name == "best" and run["best_step"] == run["steps"]:
            found[name] = found["last"]
            continue
        model, _ = classifier.load_model(model_folder, dataset["labels"], run["seed"])
        model = adapters.load(model, method, Path(path).parent).to(device)
        rows = data.remove_columns("labels")
        found[name] = logits(model, rows, tokenizer, settings["precision"], batch_size, device)
        if unknown := int((~np.isfinite(found[name])).any(axis=1).sum()):
            raise FloatingPointError(f"{path}: no finite scores for {unknown} of {len(rows)} items of {split}")
    return found


def write_scores(folder: Path, split: str, scores: dict) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(scores, folder / f"{split}.safetensors")


def read_scores(path: Path) -> dict:
    from safetensors.numpy import load_file  # no torch, which takes seconds to import

    return load_file(path)


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
    from scipy.special import softmax

    if names is None:
        return {"prediction": scores[:, 0].tolist()}
    probabilities = softmax(scores.astype("float64"), axis=1)
    columns = {f"p_{name}": probabilities[:, index].tolist() for index, name in enumerate(names)}
    return {"prediction": [names[index] for index in probabilities.argmax(axis=1)]} | columns


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
    main()
