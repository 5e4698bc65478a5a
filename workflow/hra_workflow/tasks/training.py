"""The training of a task's runs, for the rules of training and the checks of the config."""

from pathlib import Path
from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core import grid, tuning
from hra_workflow.core.made_from import ROUNDING
from hra_workflow.tasks.data import rows
from hra_workflow.tasks.part import Part

REQUIRED = (
    "learning_rate",
    "schedule",
    "warmup_steps",
    "batch_size",
    "gradient_accumulation",
    "weight_decay",
    "max_grad_norm",
    "adam_epsilon",
    "precision",
)
LENGTH = ("epochs", "max_steps")  # a run has one of them
IDLE = {"gpu": 0, "threads": 1, "mem_mb": 4000, "runtime": 60}


class Training(Part):
    """The training of a task's runs.

    automatic: hyper-parameters that may be `auto`.
    head_rate: whether the head may have a separate learning rate.
    per_process: whether its results depend on the number of processes, as dropout and the order of rows do.
    """

    automatic: ClassVar[tuple[str, ...]] = ()
    head_rate: ClassVar[bool] = False
    per_process: ClassVar[bool] = True

    def inputs(self, dataset: str) -> dict[str, str]:
        """Return the manifests of the model and of the training data of runs on a dataset."""
        resources, model = self.config["pathvars"]["resources"], self.settings["model"]
        return {
            "model": f"{resources}/models/{model}.manifest.json",
            "dataset": f"{resources}/datasets/{self.name}/{dataset}.manifest.json",
        }

    def waits(self, micro_batches: int, processes: int) -> dict[str, int]:
        """Return how often an optimizer step must wait for the GPU, except to log, by the file that waits."""
        return {}

    def errors_before(self, run: dict) -> list[str]:
        """Return the error files of the jobs that precede the augmentation of a run."""
        return []

    def period(self, values: dict) -> int:
        """Return the number of steps after which their times recur: those that train on the same sampled data."""
        return 1

    # Equal for all tasks

    def hyperparameters(self, dataset: str, run: str) -> dict:
        """Return the hyper-parameters of `method/variant` on a dataset, without limits above its number of rows."""
        values = grid.hyperparameters(self.config, self.name, dataset, run)
        if "held_out" in values and (total := rows(self.datasets[dataset], "train")):
            values["held_out"] = without_idle_limits(values["held_out"], total)
        return values

    def relevant_hyperparameters(self, dataset: str, run: str) -> dict:
        """Return the hyper-parameters that training depends on, as its param; {} for runs that train nothing."""
        values = self.hyperparameters(dataset, run) if methods.trains(self.config, run) else {}
        return {key: value for key, value in values.items() if key not in ROUNDING}

    def preset(self, run: str) -> str | None:
        """Return the name of the preset of `method/variant`; "none" for runs that train nothing."""
        return grid.preset(self.config, self.name, run) if methods.trains(self.config, run) else "none"

    def processes(self, run: str) -> int | None:
        """Return the number of processes of training `method/variant` if its results depend on it, else None."""
        return max(1, self.resources(run)["gpu"]) if self.per_process and methods.trains(self.config, run) else None

    def resources(self, run: str) -> dict:
        """Return the resources of training `method/variant`: threads and memory in proportion to its GPUs.

        A run that trains nothing only checks its inputs, on one core.
        """
        resources = self.settings["resources"]
        if not methods.trains(self.config, run):
            return resources | {name: min(resources[name], most) for name, most in IDLE.items()}
        gpus = min(resources["gpu"], grid.value_for_run(resources.get("max_gpu", {}), run) or resources["gpu"])
        if gpus == resources["gpu"]:
            return resources
        part = {name: -(-resources[name] * gpus // resources["gpu"]) for name in ("threads", "mem_mb")}
        return resources | part | {"gpu": gpus}

    def trained_on(self, dataset: str, run: str) -> dict:
        """Return everything that training on a labelled dataset depends on, with the split for selection."""
        entry, benchmarks = self.task.data.entry(dataset), self.evaluation(dataset, run)["benchmarks"]
        settings = {key: entry[key] for key in ("columns", "labels", "score")}
        settings |= self.task.table.versions([entry["score"]])
        return settings | {"split": next(iter(benchmarks.values()), None)}

    def evaluation(self, dataset: str, run: str) -> dict:
        """Return the benchmarks and metrics that a training job also computes; a trial is not evaluated."""
        entry = self.task.data.entry(dataset)
        computed = {"metrics": entry["metrics"]} | self.task.table.versions(entry["metrics"])
        return {"benchmarks": {} if tuning.MARK in run else entry["benchmarks"]} | computed

    def scratch(self, *parts: str) -> str:
        """Return a path in the folder of training checkpoints and errors."""
        return str(Path(self.config["pathvars"]["scratch"], *parts))


def held_out_rows(total: int, hyperparameters: dict) -> int:
    """Return the approximate number of training rows that a run holds out."""
    limits = hyperparameters.get("held_out")
    return min(round(limits["share"] * total), limits.get("rows") or total) if limits else 0


def without_idle_limits(held_out: dict, total: int) -> dict:
    """Remove the limits of `held_out` that do not change the split of `total` rows (data/held_out.py)."""
    fractions = {"rows": held_out["share"], "train_rows": 1}
    limits = {key: held_out[key] for key in fractions if key in held_out}
    idle = [key for key, most in limits.items() if most is None or most / total >= fractions[key]]
    return {key: value for key, value in held_out.items() if key not in idle}
