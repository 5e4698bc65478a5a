"""States of results for `hra-workflow diff`, from synthetic records."""

from pathlib import Path

import numpy as np
from PIL import Image

import factories
from hra_workflow.core import files, predictions, records
from hra_workflow.data import images

TEXTS = [f"sentence {item} <b>" for item in range(40)]


def write_run(folder: Path, run: str = "hra/r8", seed: int = 0, wrong: tuple[int, ...] = (), **changes) -> Path:
    """Write a run on rte whose predictions for `wrong` are wrong, with rising confidence; return its folder."""
    labels = np.arange(len(TEXTS)) % 2
    scores = np.where(np.eye(2)[labels] == 1, 2.0, -2.0)
    for place, item in enumerate(wrong):
        scores[item] = -scores[item] * (1 + place / 8)
    lines = [
        {"item": item, "sentence": TEXTS[item], "label": int(labels[item]), "last": one, "best_on_dev": one}
        for item, one in enumerate(scores.tolist())
    ]
    entry, accuracy = factories.entry(folder, "rte", run, seed), 1 - len(wrong) / len(TEXTS)
    dataset = {"columns": ["sentence"], "labels": ["no", "yes"]}
    made = entry["record"] | {"settings": entry["record"]["settings"] | {"dataset": dataset}, "inputs": {}}
    path, _ = factories.write(folder, entry, [accuracy], lines, **{"made_from": made} | changes)
    return Path(path).parent


def edit(path: Path, **changes) -> None:
    """Change entries of a record and its SHA-256; None removes one."""
    content = {name: value for name, value in (files.read_json(path) | changes).items() if value is not None}
    records.write(path, content)


def edit_run(run: Path, **changes) -> None:
    """Change entries of train.json; its results remain those of the run."""
    edit(run / "train.json", **changes)
    made = files.read_json(run / "dev/metrics.json")["made_from"]
    inputs = {str(run / "train.json"): files.read_json(run / "train.json")[records.SEAL]}
    edit(run / "dev/metrics.json", made_from=made | {"inputs": inputs})


def write_images(folder: Path, colours: tuple[str, ...]) -> None:
    """Write a run of control with three images; its metric is 1 for a black image."""
    identity = {"task": "control", "dataset": "rte", "method": "hra", "variant": "r8", "seed": 0}
    made = records.with_digest(factories.record(factories.entry(folder, "rte"), [0.5]) | identity)
    place = folder / "control/rte/hra/r8/seed0/validation"
    place.mkdir(parents=True)
    records.write(place.parent / "train.json", made)
    names = ("red", "lime", "blue")
    scores = [1.0 if colour == "black" else row / 2 for row, colour in enumerate(colours)]
    lines = [{"key": str(row), "prompt": f"a {names[row]} ball", "iou": score} for row, score in enumerate(scores)]
    predictions.write(place / "predictions.jsonl.gz", lines)
    head = {"result": "control/rte/hra/r8/0/validation", "settings": {}}
    pictures = [
        images.Picture(f"row{row:06d}", images.to_png(Image.new("RGB", (8, 8), colour)), {"row": row, "key": str(row)})
        for row, colour in enumerate(colours)
    ]
    images.pack(place / "images.tar", pictures, head=head)
    values = {"last": {"step": 1, "metrics": {"iou": {"value": float(np.mean(scores)), "stderr": 0.1}}}}
    digests = {"predictions_sha256": files.sha256(place / "predictions.jsonl.gz")}
    entry = factories.entry(folder, "rte")
    metrics = factories.metrics(entry, "validation", 0.5) | identity | {"selections": values, "score": "iou"} | digests
    records.write(place / "metrics.json", metrics)
