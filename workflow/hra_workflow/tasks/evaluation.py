"""The evaluation of a task's runs, for the rules of evaluation, the tables and a dry run.

A run is evaluated on its dataset's benchmarks and on those of retention. Retention is how much of the base model
remains: a benchmark of the task itself, the same for all datasets.
"""

from collections.abc import Mapping

from hra_workflow.report.run_columns import OF_TRAINING, TRAINING
from hra_workflow.tasks.part import Part


class Evaluation(Part):
    """The evaluation of a task's runs."""

    def in_training(self, wildcards: Mapping[str, str]) -> bool:
        """Return whether the training job computes the scores of the items: the evaluation then needs no GPU."""
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

        It has `benchmark`, `metric` and `label`, and `better`, lower or higher.
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
        return [*self.task.data.entry(run["dataset"])["benchmarks"], *self.retention_benchmarks(run)]

    def all_benchmarks(self) -> set[str]:
        """Return the benchmarks of all datasets and runs."""
        names = {name for dataset in self.datasets for name in self.task.data.entry(dataset).get("benchmarks", {})}
        return names | {name for run in self.task.runs() for name in self.benchmarks(run)}

    def evaluated_on(self, dataset: str, benchmark: str) -> dict:
        """Return everything except the weights that scores on a split of a labelled dataset depend on."""
        entry = self.task.data.entry(dataset)
        settings = {key: entry[key] for key in ("columns", "labels", "metrics", "score")}
        settings |= self.task.table.versions(entry["metrics"])
        return settings | {"split": entry["benchmarks"][benchmark]}
