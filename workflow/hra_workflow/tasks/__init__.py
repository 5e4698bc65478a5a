"""The tasks: every folder here with a `task.py` is a task, whose `TASK` is a subclass of `base.Task`."""

import importlib
import pkgutil
from functools import cache

from hra_workflow.core import imports
from hra_workflow.core.errors import expect
from hra_workflow.tasks.base import Task


@cache
def classes() -> dict[str, type[Task]]:
    """Find the class of every task, by the task's name."""
    folders = (module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return {name: importlib.import_module(f"{__name__}.{name}.task").TASK for name in folders}


def load(config: dict) -> dict[str, Task]:
    """Bind every task to a config, by the task's name; including those not in the config."""
    return {name: task(config) for name, task in (classes() | own_classes(config)).items()}


def own_classes(config: dict) -> dict[str, type[Task]]:
    """Import the classes that `tasks.{task}.class` of a config names; each is a subclass of the task's own class."""
    found, entries = {}, config.get("tasks")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        stated = entry.get("class") if isinstance(entry, dict) else None
        if isinstance(stated, str) and name in classes():
            key, task = f"config: tasks.{name}.class", classes()[name]
            found[name] = imports.import_named(stated, key)
            is_fitting = isinstance(found[name], type) and issubclass(found[name], task)
            expect(is_fitting, f"{key}: expected a subclass of {task.__module__}:{task.__name__}, found {stated}")
    return found
