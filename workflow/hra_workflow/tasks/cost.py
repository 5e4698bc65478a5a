"""The cost of a task's jobs for the plan and `hra-workflow smoke`: resources, rows, bytes and files."""

from typing import ClassVar

from hra_workflow.core import grid, made_from, tuning
from hra_workflow.tasks.data import rows
from hra_workflow.tasks.part import Part
from hra_workflow.tasks.training import LENGTH, held_out_rows

# Hyper-parameters that change neither the memory of a step nor its time.
LEARNING = (
    *("learning_rate", "head_learning_rate", "schedule", "warmup_steps", "weight_decay", "max_grad_norm"),
    *("adam_epsilon", "classifier_dropout", "held_out", "eval_steps", "epoch_steps", *LENGTH),
)
FORWARD = 1 / 3  # fraction of a training step: the backward pass costs twice as much as the forward pass


class Cost(Part):
    """Estimate the cost of a task's jobs.

    own_rules: rules without a `task` wildcard that belong to this task.
    """

    own_rules: ClassVar[tuple[str, ...]] = ()

    def resources(self, rule: str, stage: str) -> dict:
        """Return the config's `resources` for jobs of a stage."""
        section = {"generate": "generation", "evaluate": "evaluation"}.get(stage)
        return (self.settings.get(section) or self.settings).get("resources", {})

    def workload(self, run: str = "") -> str | None:
        """Return a digest of what the memory and the time of the jobs of `method/variant` depend on, except the card.

        run: empty for jobs that runs share. None: the config has no such run.
        """
        settings, (method, _, variant) = self.settings, run.partition("/")
        of_jobs = {
            name: {key: value for key, value in settings[name].items() if key != "resources"}
            for name in ("generation", "evaluation", "class_images")
            if settings.get(name)
        }
        found = [self.name, settings["model"], self.config["models"][settings["model"]], settings.get("resolution")]
        found += [of_jobs, settings["resources"]["gpu"]]
        if run:
            variants = self.config["methods"].get(method, {}).get("variants", {})
            if variant not in variants:
                return None
            found.append(variants[variant])
            for dataset in grid.datasets(self.config, self.name):
                values = self.task.training.hyperparameters(dataset, run)
                found.append({key: value for key, value in values.items() if key not in LEARNING})
        return made_from.digest(found)

    def checkpoints(self, run: dict, outputs: list[str]) -> int:
        """Return the number of times that a run saves its weights; a trial of hyper-parameters does not keep them."""
        return 0 if tuning.MARK in run["variant"] else sum(path.endswith(".safetensors") for path in outputs)

    def output_bytes(self, stage: str, wildcards: dict, downloaded: float | None) -> dict[str, float | None]:
        """Estimate the bytes of a job's large outputs except weights, by their type; None: unknown.

        `downloaded`: the bytes of the dataset's download; None: unknown.
        """
        return {}

    def work(self, stage: str, wildcards: dict) -> float | None:
        """Return the number of rows that pass a training step (forward and backward); None if unknown."""
        if wildcards.get("dataset") not in self.datasets:
            return None
        entry = self.task.data.entry(wildcards["dataset"])
        if stage == "train":
            return self.training_work(entry, wildcards)
        if stage not in ("generate", "evaluate"):
            return None
        items = self.items(wildcards["dataset"], wildcards.get("benchmark", ""))
        if items and stage == "generate":
            return items / int(wildcards["n_shards"])
        return items and items * FORWARD * len(self.task.selections)

    def items(self, dataset: str, benchmark: str) -> int | None:
        """Return the number of rows of a benchmark of a dataset, if it is known."""
        entry = self.task.data.entry(dataset)
        if benchmark not in entry.get("benchmarks", {}):
            return None
        name, _, split = entry["benchmarks"][benchmark].rpartition("/")
        return rows(self.datasets[name] if name else entry, split)

    def training_work(self, entry: dict, wildcards: dict) -> float | None:
        """Return the rows of all steps and of the evaluations on dev in between."""
        run = f"{wildcards['method']}/{wildcards['variant']}"
        values = self.task.training.hyperparameters(wildcards["dataset"], run)
        total = rows(entry, "train") or 0
        held_out = held_out_rows(total, values)
        used = min(total - held_out, values.get("held_out", {}).get("train_rows", total)) * values.get("epochs", 0)
        used = values.get("max_steps", 0) * values["batch_size"] or used
        if not used or not values.get("eval_steps"):
            return used or None
        dev = held_out or rows(entry, next(iter(entry["benchmarks"].values()))) or 0
        every = values["eval_steps"]
        return used + (1 / every if every < 1 else used / values["batch_size"] / every) * dev * FORWARD
