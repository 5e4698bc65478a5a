"""The description of a task; its parts, in modules next to this one, serve the rules, the plan and the tables."""

from typing import ClassVar

from hra_workflow.core import grid
from hra_workflow.tasks.cost import Cost
from hra_workflow.tasks.data import Data
from hra_workflow.tasks.evaluation import Evaluation
from hra_workflow.tasks.generation import Generation
from hra_workflow.tasks.table import Table
from hra_workflow.tasks.training import Training
from hra_workflow.tasks.usage import Usage

PARTS = ("data", "training", "generation", "evaluation", "table", "cost", "usage")


class Task:
    """A task, bound to a config. A subclass sets the task's name, and overrides other attributes that differ.

    name: as in paths and config.
    title: the heading in the report.
    architecture: the type of model that `augment` inserts adapters into.
    required: hyper-parameters that every run needs, in addition to those of all tasks (training.REQUIRED); a tuple of
        several: exactly one of them.
    selections: the checkpoints shown in tables; the first is that of the official code.
    data: its datasets; used by downloads, the checks of the config and preflight.
    training: the training of its runs; used by the rules of training and the checks.
    generation: the generation of its outputs; used by the rules of generation and a dry run.
    evaluation: the evaluation of its runs; used by the rules of evaluation and the tables.
    table: the contents of its tables, figures and report.
    cost: the cost of its jobs; used by the plan.
    usage: the usage of finished runs; used by export and prediction.

    A part is a class, a subclass of its default here; a bound task has an instance of it (part.py). It also has the
    `config`, its entry there as `settings` ({} if it has none), and the entries of its data as `datasets`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    architecture: ClassVar[str]
    required: ClassVar[tuple[str | tuple[str, ...], ...]] = ()
    selections: tuple[str, ...] = ("last",)
    data = Data
    training = Training
    generation = Generation
    evaluation = Evaluation
    table = Table
    cost = Cost
    usage = Usage

    def __init__(self, config: dict):
        self.config = config
        self.settings = config["tasks"].get(self.name, {})
        self.datasets = config["datasets"].get(self.name, {})
        for part in PARTS:
            setattr(self, part, getattr(self, part)(self))

    def runs(self) -> list[dict]:
        """Return the runs of the grid, in config order; [] for a task that is not in the config."""
        return grid.runs(self.config, self.name) if self.settings else []
