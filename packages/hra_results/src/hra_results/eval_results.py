"""Evaluation results of an export in the Hugging Face Hub's format, `.eval_results/TASK.yaml`.

The Hub shows them on the model's page and on the leaderboard of the benchmark, and refuses those of a dataset that is
no benchmark or of an unknown task (https://huggingface.co/docs/hub/eval-results). So only the benchmarks below have a
file, and only if all of their rows were answered.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries

from hra_workflow.core import files, records

FOLDER = ".eval_results"
TRAINED_ON = re.compile(r"rows of (\S+) are the training data")  # a warning on the model card


class Benchmark(NamedTuple):
    task: str  # its name in the eval.yaml of the dataset
    rows: int  # of the split that the task evaluates


BENCHMARKS = {"openai/gsm8k": Benchmark("gsm8k", 1319)}  # by repository of the dataset


def write(export: Path, run: Path) -> None:
    """Write a file per benchmark that the exported weights were evaluated on.

    export: RUN/hub/{weights}. run: RUN, with metrics.json per benchmark, which name the manifests of their data. A
    benchmark that is the training data, as the card warns, has no file.
    """
    record = records.read(export / records.OF_RUN)
    trained_on = TRAINED_ON.findall((export / "README.md").read_text())
    for path in sorted(run.glob("*/metrics.json")):
        metrics = records.read(path)
        inputs = metrics.get("made_from", {}).get("inputs", {})
        if record[records.SEAL] in inputs.values() and metrics["benchmark"] not in trained_on:
            about = f"{record['method']}/{record['variant']}, seed {record['seed']}: {metrics['score']}"
            value = score(metrics, export.name)
            for repo, revision in sources(inputs):
                task, rows = BENCHMARKS[repo]
                if value is not None and metrics["n_items"] == rows:
                    entry = EvalResultEntry(repo, task, value, dataset_revision=revision, notes=about)
                    save(export / FOLDER / f"{task}.yaml", [entry])


def sources(inputs: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield repository and revision of the known benchmarks among the inputs of an evaluation."""
    for path in inputs:
        manifest = files.read_if_valid(path) if path.endswith(".manifest.json") else {}
        repo = manifest.get("source", {}).get("repo")
        if repo in BENCHMARKS:
            yield repo, manifest.get("revision")


def score(metrics: dict, weights: str) -> float | None:
    """Return the main metric of the exported weights (`last`, `best` or a step) in percent; None if not evaluated."""
    for selection, found in metrics["selections"].items():
        if found["step"] is not None and (selection == "last") == (weights == "last"):
            return round(100 * found["metrics"][metrics["score"]]["value"], 2)
    return None


def save(path: Path, entries: list[EvalResultEntry]) -> None:
    files.write_text(path, yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False))


def read(export: Path) -> dict[Path, list[EvalResultEntry]]:
    """Return the results by file; raise KeyError, TypeError, ValueError or yaml.YAMLError for other contents."""
    found = sorted(export.glob(f"{FOLDER}/*.yaml"))
    return {path: parse_eval_result_entries(yaml.safe_load(path.read_text())) for path in found}


def name_source(export: Path, repository: str) -> None:
    """Name the run's record in a repository of the Hub as the source of results that have none."""
    url = f"https://huggingface.co/{repository}/blob/main/{records.OF_RUN}"
    source = {"source_url": url, "source_name": "Run record"}
    for path, entries in read(export).items():
        save(path, [one if one.source_url else replace(one, **source) for one in entries])
