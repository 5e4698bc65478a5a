"""Every key of the schema has a meaning, a true default and a valid example; docs/config/keys.md is made from them."""

import ast
import copy
import csv
import dataclasses
import re

import huggingface_hub
import peft
import pytest
from jsonschema import Draft202012Validator

import config_keys_page
import schema_keys
from config_keys import at
from hra.config import HRAConfig
from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from hra_workflow.core.grid import HELD_OUT
from hra_workflow.models.causal_lm import ANSWER
from hra_workflow.tasks.training import REQUIRED
from schema_keys import NOTHING, given
from support import ROOT, paper_config, put

SCHEMA = config_keys_page.written()
KEYS = list(schema_keys.keys(SCHEMA))
GRID = paper_config()
FIELDS = {
    "peft of kind hra": HRAConfig,
    "peft of kind lora": peft.LoraConfig,
    "peft of kind oft": peft.OFTConfig,
    "peft of kind boft": peft.BOFTConfig,
    "peft of kind adalora": peft.AdaLoraConfig,
}
FOLDERS = ("rules", "workflow/hra_workflow", "workflow/scripts")
CODE = "\n".join(
    path.read_text() for name in FOLDERS for path in (ROOT / name).rglob("*.*") if path.suffix in (".py", ".smk")
)
NAMES = {"csv.QUOTE_MINIMAL": csv.QUOTE_MINIMAL, "causal_lm.ANSWER": ANSWER, "grid.HELD_OUT": HELD_OUT}


def in_grid(key: schema_keys.Key):
    """Return the value of a key in the paper's grid, or NOTHING."""
    try:
        return at(GRID, key.place) if key.place else NOTHING
    except (KeyError, TypeError):
        return NOTHING


WITH_DEFAULT = [key for key in KEYS if given(key.get("default"))]
OF_CODE = [
    key for key in WITH_DEFAULT if not given(in_grid(key)) and key.section not in FIELDS and key.path != ("repo_type",)
]


def test_every_key_has_a_meaning_a_default_and_an_example():
    Draft202012Validator.check_schema(SCHEMA)
    assert len(KEYS) > 350 and list(schema_keys.problems(SCHEMA)) == []


@pytest.mark.parametrize(
    ("place", "keyword", "value", "message"),
    [
        ("properties.max_gpu_hours", "description", None, "max_gpu_hours: expected a description, found none"),
        ("properties.max_gpu_hours", "default", None, "max_gpu_hours: expected `default`, `absent` or an entry in"),
        ("properties.max_gpu_hours", "default", 0, "max_gpu_hours: default 0: 0 is less than or equal to"),
        (
            "properties.max_gpu_hours",
            "absent",
            "x",
            "max_gpu_hours: expected one of `default` and `absent`, fou",
        ),
        ("properties.max_gpu_hours", "examples", None, "max_gpu_hours: expected examples, found none"),
        ("properties.max_gpu_hours", "examples", [1, "many"], "max_gpu_hours: example 'many': 'many' is not of type"),
        ("$defs.tune.properties.rows", "examples", [0], "tune.rows: example 0: 0 is "),
        ("$defs.model.properties.head", "absent", None, "models.{name}.head: expected `default`, `absent` or"),
        ("$defs.gigabytes", "description", None, "models.{name}.gigabytes: expected a description, found none"),
        (
            "$defs.math_task.properties.generation.properties.stop",
            "examples",
            None,
            "tasks.math.generation.stop: exp",
        ),
    ],
)
def test_what_a_key_lacks_is_a_named_error(place, keyword, value, message):
    schema = copy.deepcopy(SCHEMA)
    entry = at(schema, place.split("."))
    entry.pop(keyword, None)
    entry |= {keyword: value} if value is not None else {}
    assert any(problem.startswith(message) for problem in schema_keys.problems(schema))


def test_no_key_of_the_file_is_left_out():
    seen = {id(key.stated) for key in KEYS}
    differing = [stated for stated in schema_keys.defined(SCHEMA) if id(stated) not in seen]
    assert all(stated.keys() <= {"reruns", "properties"} for stated in differing), "what a task changes of common keys"


def test_a_default_of_the_grid_is_the_grid_s():
    wrong = [str(key) for key in WITH_DEFAULT if in_grid(key) not in (NOTHING, key.get("default"))]
    assert len(WITH_DEFAULT) - len(OF_CODE) > 80 and wrong == []
    stated = (key for key in KEYS if given(in_grid(key)) and not key.keys)
    without = [str(key) for key in stated if not given(key.get("default")) and not given(key.get("absent"))]
    assert without == ["tasks.math.retention.benchmarks", "tasks.control.version"]  # whose values are long, or rise


@pytest.mark.parametrize("key", OF_CODE, ids=str)
def test_any_other_default_is_that_of_the_code(key):
    """The code looks an absent key up with this default, or compares it with the other one of two values."""
    name, default = key.path[-1], key.get("default")
    looked_up = re.findall(rf'(?:\.get|task_resource)\("{name}"(?:, ([^()]+))?\)(?: [!=]= ("?[\w.-]+"?))?', CODE)
    if not looked_up and f'"{name}": {default!r}' in CODE:
        return  # in a mapping of defaults
    assert looked_up, f"{key}: expected a place in the code that applies a default, found none"
    found = [applied(value, other, key) for value, other in looked_up]
    assert default in found, f"{key}: expected the default of the code, one of {found}, found {default!r}"


def applied(value: str, other: str, key: schema_keys.Key):
    """Return the value that the code uses for an absent key; None acts as any empty value."""
    if value:
        literal = re.match(r"[\d\"\[{TFN]", value)
        return NAMES[value] if value in NAMES else ast.literal_eval(value) if literal else value
    if other:
        other = NAMES.get(other, other.strip('"'))
        return next((one for one in key.get("enum") if one != other), None)
    return None if key.get("default") else key.get("default")


def test_a_repository_is_one_of_a_model_by_default():
    urls = [huggingface_hub.hf_hub_url("owner/name", "file", repo_type=one) for one in (None, "model", "dataset")]
    assert urls[0] == urls[1] != urls[2]


@pytest.mark.parametrize("section", FIELDS)
def test_the_defaults_of_adapters_are_those_of_their_classes(section):
    fields = {field.name: field.default for field in dataclasses.fields(FIELDS[section])}
    stated = {key.path[0]: key.get("default") for key in KEYS if key.section == section}
    assert stated.keys() <= fields.keys()
    assert {name: one for name, one in stated.items() if given(one)} == {
        name: fields[name] for name, one in stated.items() if given(one)
    }


def test_the_hyperparameters_that_a_run_needs_are_called_required():
    keys = [key for key in KEYS if key.section == "Hyper-parameters" and len(key.path) == 1]
    stated = {key.path[0]: key.get("absent") for key in keys}
    needed = {name: text[10:].partition(";")[0].split(", ") for name, text in stated.items() if is_required(text)}
    wanted = {name: ["every trained run"] for name in REQUIRED}
    for task in tasks.classes().values():
        for key in task.required:
            if isinstance(key, str) and key not in wanted and given(stated[key]):  # others have a default elsewhere
                wanted[key] = [one for one, other in tasks.classes().items() if key in other.required]
    assert {name: sorted(one) for name, one in needed.items()} == {name: sorted(one) for name, one in wanted.items()}


def is_required(text) -> bool:
    return given(text) and text.startswith("required: ")


def test_an_error_shows_the_first_sentence_of_a_key(config):
    put(config, "max_gpu_hours", 0)
    with pytest.raises(
        JobError, match=r"max_gpu_hours: 0 is .* \(Refuse to start if .*, for the jobs that remain; a dry run"
    ):
        validation.check(config)
    put(config, "max_gpu_hours", None)
    put(config, "tasks.glue.resources.gpus", 1)
    with pytest.raises(
        JobError, match=r"glue.resources: .*\('gpus' was unexpected\); known keys: device, gpu, "
    ) as error:
        validation.check(config)
    assert "Of a training run" not in str(error.value)


def test_the_page_is_current():
    assert config_keys_page.PAGE.read_text() == config_keys_page.page(SCHEMA), "run: python tests/config_keys_page.py"
