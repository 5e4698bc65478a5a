"""A custom class instead of a task's, and its keys."""

import sys

import pytest

from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from support import paper_config, put

KEYS = """
from hra_workflow.keys.hyperparameters import Hyperparameters
from hra_workflow.keys.section import key
from hra_workflow.tasks.math import keys

Dataset = keys.Dataset


class MyHyperparameters(Hyperparameters):
    rows_at_once: int = key("Rows of two steps.", absent="required")


class Settings(keys.Settings):
    defaults: MyHyperparameters = key("Hyper-parameters.", reruns="training")
"""


MODULE = """
from hra_workflow.tasks.glue.task import Glue
from hra_workflow.tasks.math.task import Math


class MyMath(Math):
    required = (*Math.required, "rows_at_once")
    keys = "my_math_keys"
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> dict:
    """Provide a config that names MyMath of my_math.py."""
    (tmp_path / "my_math.py").write_text(MODULE)
    (tmp_path / "my_math_keys.py").write_text(KEYS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_math", raising=False)
    config = paper_config()
    put(config, "tasks.math.class", "my_math:MyMath")
    put(config, "tasks.math.defaults.rows_at_once", 8)
    return config


def test_its_keys_are_checked_and_only_it_has_them(config):
    validation.check(config)
    put(config, "tasks.math.defaults.rows_at_once", "8")
    with pytest.raises(JobError, match=r"rows_at_once: expected an integer, found '8'"):
        validation.check(config)
    del config["tasks"]["math"]["defaults"]["rows_at_once"]
    with pytest.raises(JobError, match=r"rows_at_once is missing: neither tasks\.math\.defaults nor the preset"):
        validation.check(config)
    put(config, "tasks.math.defaults.rows_at_once", 8)
    del config["tasks"]["math"]["class"]
    with pytest.raises(JobError, match=r"defaults\.rows_at_once: unknown key"):
        validation.check(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_math:Glue", r"tasks\.math\.class: expected a subclass of hra_workflow\.tasks\.math\.task:Math, found"),
        ("my_math:Other", r"tasks\.math\.class: expected 'Other' in module my_math, found Glue, Math, MyMath"),
        ("no_math:MyMath", r"tasks\.math\.class: .* no module no_math\. .* to PYTHONPATH"),
    ],
)
def test_a_class_that_does_not_fit_is_one_message(config, name, message):
    put(config, "tasks.math.class", name)
    with pytest.raises(JobError, match=message):
        validation.check(config)
