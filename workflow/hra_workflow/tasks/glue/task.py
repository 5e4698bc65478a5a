"""GLUE with a text classifier."""

from collections.abc import Mapping
from pathlib import Path

from hra_workflow.core import files, grid, records, tuning
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks import training
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.datasets import generated, reading, rows
from hra_workflow.tasks.glue import metrics
from hra_workflow.tasks.training import LENGTH, held_out_rows


class Glue(Task):
    name = "glue"
    title = "Text classification"
    keys = "hra_workflow.tasks.glue.keys"
    architecture = "classifier"
    required = (LENGTH, "max_length", "eval_steps")
    selections = ("best_on_dev", "last")
    head_rate = True
    lambda_sources = ("Figure 3", "Table 2")
    uncounted = "classifier"
    metric = staticmethod(metrics.find)
    pipeline_tag = "text-classification"
    predicts_from = (("texts",),)

    def __init__(self, config: dict):
        super().__init__(config)
        if self.settings.get("selection") == grid.HELD_OUT:
            self.selections = ("best_on_held_out", "last")

    # Data

    def check_entry(self, key: str, name: str) -> None:
        super().check_entry(key, name)
        entry = self.datasets[name]
        metrics.check(f"{key}: metrics", entry["metrics"], entry["labels"])
        one_of(f"{key}: score", "metric", entry["score"], entry["metrics"])
        for benchmark, split in entry["benchmarks"].items():
            one_of(f"{key}: benchmarks.{benchmark}", "split", split, list(entry["splits"]))

    def probe(self, dataset: str, rows: int, hyperparameters: dict) -> tuple[dict[str, dict], dict]:
        entry = self.datasets[dataset]
        counts = {"train": rows, "validation": hyperparameters.get("eval_batch_size", rows)}
        source = generated(
            "labelled",
            columns=entry["columns"],
            label=entry["label"],
            classes=len(entry["labels"] or range(5)),
            rows=counts,
            length=hyperparameters["max_length"],
            typical=entry.get("tokens"),
        )
        changes = {
            "source": source,
            "splits": {split: [f"{split}.parquet"] for split in counts},
            "rows": counts,
            "benchmarks": {next(iter(entry["benchmarks"])): "validation"},
        }
        return {"preflight": {key: value for key, value in entry.items() if key not in ("read", "take")} | changes}, {}

    # Training

    def trained_on(self, dataset: str, run: str) -> dict:
        """Return everything that training on a labelled dataset depends on, with the split for selection."""
        entry, benchmarks = self.entry(dataset), self.evaluated_in_training(dataset, run)["benchmarks"]
        settings = {key: entry[key] for key in ("columns", "labels", "score")}
        return settings | self.versions([entry["score"]]) | {"split": next(iter(benchmarks.values()), None)}

    def evaluated_in_training(self, dataset: str, run: str) -> dict:
        """Return the benchmarks and metrics that a training job also computes; a trial is not evaluated."""
        entry = self.entry(dataset)
        benchmarks = {} if tuning.MARK in run else entry["benchmarks"]
        return {"benchmarks": benchmarks, "metrics": entry["metrics"]} | self.versions(entry["metrics"])

    def evaluated_on(self, dataset: str, benchmark: str) -> dict:
        """Return everything except the weights that scores on a split of a labelled dataset depend on."""
        entry = self.entry(dataset)
        settings = {key: entry[key] for key in ("columns", "labels", "metrics", "score")}
        return settings | self.versions(entry["metrics"]) | {"split": entry["benchmarks"][benchmark]}

    def versions(self, names: list[str]) -> dict:
        """Return `versions` of the custom metrics among `names`, which results depend on; {} without any."""
        custom = {name: self.metric(name).version for name in names if ":" in name}
        return {"versions": custom} if custom else {}

    def check_runs(self) -> None:
        for run in self.runs():
            entry = self.datasets[run["dataset"]]
            total, name = rows(entry, "train"), f"{run['method']}/{run['variant']}"
            held_out = held_out_rows(total or 0, self.hyperparameters(run["dataset"], name))
            classes = len(entry["labels"] or [""])
            expect(
                not total or not held_out or classes <= held_out < total,
                f"config: tasks.{self.name}.held_out: {held_out} of the {total} training rows of {run['dataset']} "
                f"are held out; expected one of each of {classes} classes, and one to train on. Change share or rows",
            )

    # Evaluation

    def scored_in_training(self, wildcards: Mapping[str, str]) -> bool:
        dataset, benchmark = wildcards["dataset"], wildcards["benchmark"]
        measured = self.config["preflight"] and not self.config["probes"]["command"]
        if measured:
            return False  # preflight measures the evaluation separately
        run = Path(grid.paths(self.config)["run"].format(**wildcards))
        if (run / f"scores/{self.datasets[dataset]['benchmarks'][benchmark]}.safetensors").exists():
            return True
        trained = files.read_if_valid(run / records.OF_RUN)  # {}: the training that is yet to run computes the scores
        return not trained or trained.get("status") == records.DIVERGED

    def all_scored_in_training(self) -> bool:
        """Return whether no evaluation of the grid loads weights."""
        evaluations = (run | {"benchmark": name} for run in self.runs() for name in self.benchmarks(run))
        return all(self.scored_in_training(names | {"task": self.name}) for names in evaluations)

    def evaluation_resources(self, wildcards: Mapping[str, str]) -> dict:
        if self.scored_in_training(wildcards):
            return {"gpu": 0, "threads": 1, "mem_mb": 600, "runtime": 10}
        resources = training.resources(self, f"{wildcards['method']}/{wildcards['variant']}")
        return resources | {"gpu": min(1, resources["gpu"]), "runtime": 60}

    # Tables

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple]:
        # One score per item is the value of a regression; several are the scores of classes.
        scores = [line[selection] for line in lines]
        values = [row[0] if len(row) == 1 else max(range(len(row)), key=row.__getitem__) for row in scores]
        return [(line["label"], value) for line, value in zip(lines, values, strict=True)]

    def comparison(self) -> dict:
        return {"labels": {name: self.datasets[name]["labels"] for name in grid.datasets(self.config, self.name)}}

    # Finished runs

    def prediction(self, dataset: str, run: str) -> dict:
        return {"reading": reading(self.datasets[dataset])}


TASK = Glue
