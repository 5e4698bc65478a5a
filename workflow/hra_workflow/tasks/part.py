"""The base class of a task's parts."""


class Part:
    """The part of a task for one kind of caller. Subclasses override the defaults.

    task: a base.Task, which also has name, config, settings and datasets.
    """

    def __init__(self, task):
        self.task, self.name = task, task.name
        self.config, self.settings, self.datasets = task.config, task.settings, task.datasets

    def check_settings(self) -> None:
        """Raise JobError for the first invalid setting, before the grid and the columns are checked."""

    def check_runs(self) -> None:
        """Raise JobError for the first invalid run, after the grid and the columns have been checked."""
