"""What the parts of a task have in common."""


class Part:
    """Answer the questions about a task of one kind of caller. Subclasses override what differs from the defaults.

    task: a base.Task; name, config, settings and datasets are its own.
    """

    def __init__(self, task):
        self.task, self.name = task, task.name
        self.config, self.settings, self.datasets = task.config, task.settings, task.datasets

    def check_settings(self) -> None:
        """Raise JobError for the first invalid setting, before the grid and the columns are checked."""

    def check_runs(self) -> None:
        """Raise JobError for the first invalid run, after the grid and the columns have been checked."""
