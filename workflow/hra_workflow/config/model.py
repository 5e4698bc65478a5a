"""The model of a complete config: the top level, with the keys of every task."""

import importlib
from functools import cache
from types import ModuleType

from pydantic import create_model

from hra_workflow import tasks
from hra_workflow.keys.config import TopLevel
from hra_workflow.keys.hyperparameters import Preset
from hra_workflow.keys.section import Name, Section, key


def model_of(config: dict) -> type[Section]:
    """Return the model of a config, with the keys of the classes that it names instead of those of the tasks."""
    classes = tasks.classes() | tasks.own_classes(config)
    return model(*((name, task.keys) for name, task in classes.items()))


@cache
def model(*keys: tuple[str, str]) -> type[Section]:
    """Return the model of a config; `keys`: tasks with the module of their keys."""
    modules = {name: importlib.import_module(module) for name, module in keys}
    return create_model(
        "Config",
        __base__=TopLevel,
        __doc__=TopLevel.__doc__,
        datasets=section(
            "The datasets of each task by name, in config/{task}/datasets.yaml.",
            {name: (dict[Name, one.Dataset], key(one.Dataset.__doc__, default={})) for name, one in modules.items()},
        ),
        presets=section(
            "Named hyper-parameters of each task, in config/{task}/presets.yaml.",
            {
                name: (dict[Name, preset(one)], key("Of this task's runs.", default={}, reruns="training"))
                for name, one in modules.items()
            },
        ),
        tasks=section(
            "The experiment of each task, in config/{task}/task.yaml; null switches it off.",
            {name: (one.Settings | None, key(default=None)) for name, one in modules.items()},
        ),
    )


def section(text: str, fields: dict) -> tuple:
    return create_model("OfTasks", __base__=Section, __doc__=text, **fields), key()


def preset(keys: ModuleType) -> type[Section]:
    return Preset[keys.Settings.model_fields["defaults"].annotation]
