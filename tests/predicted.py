"""Jobs that predict with a trained run, as rule predict_inputs hands them out."""

import csv
import importlib

import rule_jobs

READING = {"read": None, "endings": []}


def predict(run: rule_jobs.Run, given: dict, settings: dict, weights: str = "last", **changes) -> list[dict]:
    """Return the rows of predictions.csv."""
    params = {
        "record": str(run.folder / "run/train.json"),
        "weights": run.weights[weights],
        "model": run.tiny["model"],
        "given": {name: str(path) for name, path in given.items()},
        "settings": settings,
        "seed": None,
        "scratch": str(run.folder / "scratch/predictions"),
    }
    output = {"predictions": run.folder / "predicted/predictions.csv"}
    job = run.job("predict_inputs", {}, output, **(params | changes))
    importlib.import_module(f"predict_{run.task}").main(job)
    with output["predictions"].open(newline="") as stream:
        return list(csv.DictReader(stream))


def answering(run) -> dict:
    """Return the settings of a language model's answers."""
    return {
        "reading": READING,
        "column": "query",
        "evaluation_suffix": "",
        "generation": run.GENERATION,
        "max_new_tokens": 8,
        "precision": "float32",
        "quantization": None,
    }
