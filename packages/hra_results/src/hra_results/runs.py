"""The runs of a task on the page: their records, scores, curves, rotations and failures."""

import pkgutil
from pathlib import Path

from hra_results import class_scores, examples, html_page
from hra_workflow import tasks
from hra_workflow.core import predictions, records


def describe(task: str, facts: dict, expected: dict) -> dict:
    """Return the page's contents for one run: its state, record, scores, curve and a few predictions."""
    folder, dataset = expected["path"], facts["datasets"][expected["dataset"]]
    record = records.read(folder / "train.json") if (folder / "train.json").exists() else None
    evaluations, failures = [], [] if record else expected["errors"]
    diverged = record and record["status"] == records.DIVERGED
    if diverged:
        failures = [{"rule": "training", "time": record["finished"], "error": record["error"], "tail": ""}]
        record = None
    for benchmark, errors in expected["benchmarks"].items() if not diverged else ():
        path = folder / benchmark / "metrics.json"
        found = records.read(path) if path.exists() else {}
        if "selections" not in found:  # missing, or of an earlier training, which diverged
            failures = [*failures, *errors]
            continue
        more = {"examples": [], "classes": []}
        if benchmark in dataset["benchmarks"]:
            more["examples"] = examples.chosen(task, path.parent, dataset, facts)
            more["classes"] = per_class(task, path.parent, dataset, facts["selection"])
        main = dataset["scores"].get(benchmark, found["score"])
        several = len(expected["benchmarks"]) > 1
        evaluations.append(found | main_score(found, facts["selection"], main, several) | more)
    complete = record and len(evaluations) == len(expected["benchmarks"])
    curve = (
        [point["metrics"][record["score"]] for point in record["curve"] if record["score"] in point["metrics"]]
        if record
        else []
    )
    label = facts["labels"][f"{expected['method']}/{expected['variant']}"]
    colour = facts["colours"][expected["method"]]
    return {key: expected[key] for key in ("dataset", "method", "variant", "seed", "folder")} | {
        "anchor": f"{task}-{expected['dataset']}-{expected['method']}-{expected['variant']}-{expected['seed']}",
        "label": label,
        "colour": colour,
        "state": "finished" if complete else "diverged" if diverged else "failed" if failures else "missing",
        "record": record,
        "curve": {"points": html_page.polyline(curve), "first": curve[0], "last": curve[-1], "title": title_of(record)}
        if len(curve) > 1
        else None,
        "rotation": rotation(folder / "last", expected["measure"]) if record else None,
        "evaluations": evaluations,
        "failures": failures,
    }


def rotation(adapter: Path, measure: str | None) -> dict | None:
    """Summarise the angle and the orthogonality of an adapter's layers; None: no rotation, or not copied."""
    if not measure or not adapter.exists():
        return None
    layers = pkgutil.resolve_name(measure)(str(adapter))
    largest = max(layers, key=lambda layer: layer["angle"])
    orthogonality = [layer["orthogonality"] for layer in layers]
    return {
        "points": html_page.polyline([layer["angle"] for layer in layers]),
        "layers": len(layers),
        "largest": largest,
        "smallest": min(layer["angle"] for layer in layers),
        "orthogonality": (min(orthogonality), max(orthogonality)),
    }


def title_of(record: dict) -> str:
    """Name the score of a run's curve: `accuracy on held-out training rows`."""
    title = tasks.classes()[record["task"]].metric(record["score"]).title
    return title + " on held-out training rows" * ("held_out" in record and record["score"] != "loss")


def main_score(found: dict, selection: str, metric: str, several: bool) -> dict:
    """Return `main`, such as `0.9010 accuracy`, with the benchmark's name if a dataset has several, and `error`."""
    chosen = found["selections"].get(selection) or found["selections"].get("last", {"metrics": {}})
    value = chosen["metrics"].get(metric)
    if value is None or value["value"] is None:
        return {"main": "–", "error": "–"}
    text = f"{value['value']:.4f} {metric}" + f" ({found['benchmark']})" * several
    return {"main": text, "error": "–" if value["stderr"] is None else f"{value['stderr']:.4f}"}


def per_class(task: str, folder: Path, dataset: dict, selection: str) -> list[dict]:
    """Return the scores of each class from the predictions of a benchmark; [] unless it is a classification."""
    path, labels = folder / "predictions.jsonl.gz", dataset.get("labels")
    if not labels or not path.exists():
        return []
    return class_scores.scores(tasks.classes()[task].per_item(predictions.read(path), selection, "", {}), labels)
