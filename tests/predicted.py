"""Jobs that predict with a trained run, as rule predict_inputs hands them out."""

import csv
import importlib

import rule_jobs
from hra_workflow.core import files

READING = {"read": None, "endings": []}


def predict(run, given: dict, settings: dict, weights: str = "last", **changes) -> list[dict]:
    """Return the rows of predictions.csv."""
    params = {
        "record": str(run.folder / "run/train.json"),
        "weights": str(run.folder / f"run/{weights}/adapter_model.safetensors"),
        "model": (getattr(run, "tiny", None) and run.tiny["model"]) or run.resources["model"],
        "given": {name: str(path) for name, path in given.items()},
        "settings": settings,
        "seed": None,
        "device": "cpu",
        "scratch": str(run.folder / "scratch/predictions"),
    } | changes
    output = {"predictions": run.folder / "predicted/predictions.csv"}
    job = rule_jobs.build("predict_inputs", run.folder, {}, {}, output, params, {})
    task = files.read_json(params["record"])["task"]
    importlib.import_module(f"predict_{task}").main(job)
    with output["predictions"].open(newline="") as stream:
        return list(csv.DictReader(stream))


def answering(run) -> dict:
    """Return the settings of a language model's answers."""
    return {
        "reading": READING,
        "column": "query",
        "prompt": "{question}\n",
        "generation": run.generation,
        "max_new_tokens": 8,
        "precision": "float32",
        "quantization": None,
    }
