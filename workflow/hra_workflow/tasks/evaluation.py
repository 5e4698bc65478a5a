"""The evaluation of a task's runs, for the rules of evaluation, the tables and a dry run.

A run is evaluated on its dataset's benchmarks, on those of retention, and on both with rewound weights. Retention is
how much of the base model remains: a benchmark of the task itself, the same for all datasets. Rewound weights lie
between the base model and the trained weights; their benchmarks are named `gsm8k@0.5` (core/strength_names.py).
"""

from collections.abc import Mapping
from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core import grid, strength_names
from hra_workflow.methods import rewinding
from hra_workflow.report.run_columns import OF_TRAINING, TRAINING
from hra_workflow.tasks.part import Part


class Evaluation(Part):
    """The evaluation of a task's runs.

    keeps_head: whether a randomly initialised head is trained too. It is not rewound, since the base model has none.
    """

    keeps_head: ClassVar[bool] = False

    def in_training(self, wildcards: Mapping[str, str]) -> bool:
        """Return whether the training job evaluates a run on a benchmark; the evaluation then copies its results."""
        return False

    def resources(self, wildcards: Mapping[str, str]) -> dict:
        """Return the resources of an evaluation."""
        return self.task.cost.resources("evaluate", "evaluate")

    def rule(self, benchmark: str) -> str:
        """Return the name of the rule that evaluates a run on a benchmark."""
        return f"evaluate_{self.task.name}"

    def retention_benchmarks(self, run: dict) -> list[str]:
        """Return the benchmarks of retention of a run: none if it does not change the base model."""
        return []

    def retention(self) -> dict | None:
        """Return the retention that the figure shows, or None.

        It has `benchmark`, `metric` and `label`; `better`, lower or higher; `base`, the base model's value if it has no
        row.
        """
        return None

    # Equal for all tasks

    def column_metrics(self, dataset: str) -> dict[str, list[str]]:
        """Return the metrics that a column of the table may show, by benchmark, also of retention and TRAINING."""
        entry, retention = self.task.data.entry(dataset), self.retention()
        found = {name: entry["metrics"] for name in entry["benchmarks"]} | {TRAINING: list(OF_TRAINING)}
        return found | ({retention["benchmark"]: [retention["metric"]]} if retention else {})

    def better(self, dataset: str, benchmark: str, metric: str) -> str:
        """Return which values of a metric are better, lower or higher; "": the table's column decides."""
        retention = self.retention()
        if benchmark == TRAINING:
            return "lower"
        if retention and benchmark == retention["benchmark"]:
            return retention["better"]
        return self.task.table.metric(metric).better

    def benchmarks(self, run: dict) -> list[str]:
        """Return the benchmarks of a run (`dataset`, `method`, `variant`, …)."""
        names = [*self.task.data.entry(run["dataset"])["benchmarks"], *self.retention_benchmarks(run)]
        return names + [strength_names.name(name, strength) for strength in self.strengths(run) for name in names]

    def all_benchmarks(self) -> set[str]:
        """Return the benchmarks of all datasets and runs."""
        names = {name for dataset in self.datasets for name in self.task.data.entry(dataset).get("benchmarks", {})}
        return names | {name for run in self.task.runs() for name in self.benchmarks(run)}

    def evaluated_on(self, dataset: str, benchmark: str) -> dict:
        """Return everything except the weights that scores on a split of a labelled dataset depend on."""
        entry, (name, _) = self.task.data.entry(dataset), strength_names.split(benchmark)
        settings = {key: entry[key] for key in ("columns", "labels", "metrics", "score")}
        settings |= self.task.table.versions(entry["metrics"])
        return settings | {"split": entry["benchmarks"][name]}

    def strengths(self, run: dict) -> list[float]:
        """Return the strengths below 1 at which a run is also evaluated."""
        strengths = self.settings.get("rewind", [])
        return strengths if strengths and not self.not_rewound(run) else []

    def not_rewound(self, run: dict) -> str | None:
        """Return why the weights of a run cannot be rewound, or None."""
        kind, entry = grid.kind_of(self.config["methods"][run["method"]]), methods.get(self.config, run["method"])
        if entry.rewind is None:
            return f"nothing rewinds {kind}" if entry.trains else "it trains nothing"
        if self.keeps_head and not entry.adapter.config:
            return "its head and the base model were trained together"
        return rewinding.fault(entry.rewind, self.config["methods"][run["method"]]["variants"][run["variant"]])

    def rewinding_notes(self) -> list[str]:
        """Describe the runs that `rewind` excludes, for the dry run."""
        reasons: dict[str, list[str]] = {}
        for run in self.task.runs() if self.settings.get("rewind") else ():
            if reason := self.not_rewound(run):
                reasons.setdefault(reason, []).append(f"{run['method']}/{run['variant']}")
        return [f"not rewound: {', '.join(dict.fromkeys(runs))} ({reason})" for reason, runs in reasons.items()]
