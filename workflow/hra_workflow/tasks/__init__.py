"""The tasks: every folder here with a `task.py` is a task, whose `TASK` is a subclass of `base.Task`."""

import importlib
import pkgutil
from functools import cache

from hra_workflow.tasks.base import Task


@cache
def classes() -> dict[str, type[Task]]:
    """Find the class of every task, by the task's name."""
    folders = (module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return {name: importlib.import_module(f"{__name__}.{name}.task").TASK for name in folders}


def load(config: dict) -> dict[str, Task]:
    """Bind every task to a config, by the task's name; including those not in the config."""
    return {name: task(config) for name, task in classes().items()}
