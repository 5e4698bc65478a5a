"""Every key of the config has a meaning, a true default and valid examples; what is made from them is current."""

import ast
import copy
import csv
import re

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter, ValidationError

from config_keys import description
from config_pages import NOTHING, Key, for_editors, keys, pages, title
from hra_workflow import tasks
from hra_workflow.config import overlays, validation
from hra_workflow.core.errors import JobError
from hra_workflow.core.grid import HELD_OUT
from hra_workflow.keys.section import stated
from hra_workflow.models.causal_lm import ANSWER
from hra_workflow.tasks.training import REQUIRED
from support import ROOT, paper_config

KEYS = [one for sections in pages().values() for section in sections for one in keys(section)]
FOLDERS = ("rules", "workflow/hra_workflow", "workflow/scripts")
CODE = "\n".join(
    path.read_text()
    for name in FOLDERS
    for path in (ROOT / name).rglob("*.*")
    if path.suffix in (".py", ".smk") and path.name != "keys.py" and path.parent.name != "keys"
)
NAMES = {"csv.QUOTE_MINIMAL": csv.QUOTE_MINIMAL, "causal_lm.ANSWER": ANSWER, "grid.HELD_OUT": HELD_OUT}
OPTIONAL = [one for one in KEYS if not one.field.is_required() and not stated(one.field, "absent")]
OTHERS = ("repo_type", "probes")  # huggingface_hub's, and a mapping
OF_CODE = [one for one in OPTIONAL if one.in_grid is NOTHING and one.path[-1] not in OTHERS]


def problems(one: Key) -> list[str]:
    """List what a key lacks."""
    found = [] if description(one.field) else [f"{one}: expected a description, found none"]
    values = [*(one.field.examples or ()), *([one.field.default] if not one.field.is_required() else [])]
    for value in values if not stated(one.field, "absent") else one.field.examples or ():
        try:
            TypeAdapter(
                one.field.rebuild_annotation(), config=None if is_model(one) else {"strict": True}
            ).validate_python(value)
        except ValidationError as problem:
            found.append(f"{one}: {value!r}: {problem}")
    return found


def is_model(one: Key) -> bool:
    return isinstance(one.field.annotation, type) and issubclass(one.field.annotation, BaseModel)


def test_every_key_has_a_meaning_and_valid_examples():
    assert len(KEYS) > 200
    generic = ("tune.search", "tune.methods", "presets.{task}.{name}.all")
    found = [problem for one in KEYS if str(one) not in generic for problem in problems(one)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("one", OF_CODE, ids=str)
def test_a_default_that_the_grid_lacks_is_that_of_the_code(one):
    """The code looks an absent key up with this default, or compares it with the other one of two values."""
    name, default = one.path[-1], one.field.default
    looked_up = re.findall(rf'(?:\.get|task_resource)\("{name}"(?:, ([^()]+))?\)(?: [!=]= ("?[\w.-]+"?))?', CODE)
    if not looked_up and re.search(rf'"{name}": {default!r}|\b{name}: \w+ = {default!r}', CODE):
        return  # in a mapping of defaults, or of an argument
    assert looked_up, f"{one}: expected a place in the code that applies a default, found none"
    found = [applied(value, other, one) for value, other in looked_up]
    assert default in found, f"{one}: expected the default of the code, one of {found}, found {default!r}"


def applied(value: str, other: str, one: Key):
    """Return the value that the code uses for an absent key; None acts as any empty value."""
    if value:
        literal = re.match(r"[\d\"\[{TFN]", value)
        return NAMES[value] if value in NAMES else ast.literal_eval(value) if literal else value
    default = one.field.default
    if other:
        other = NAMES.get(other, other.strip('"'))
        return next((value for value in one.field.annotation.__args__ if value != other), None)
    return None if default else default


def test_code_reads_every_key():
    """But those that PEFT reads."""
    own = [one for one in KEYS if one.path[0] != "adalora"]
    unread = [str(one) for one in own if not re.search(rf"[\"'.]{re.escape(one.path[-1])}\b", CODE)]
    assert unread == [] and not re.search(r"[\"'.]no_such_key\b", CODE)


def test_an_optional_key_of_the_grid_has_the_default_that_holds_without_it():
    stated_otherwise = {str(one) for one in OPTIONAL if one.in_grid not in (NOTHING, one.field.default)}
    assert stated_otherwise <= {
        f"tasks.{name}.{key}" for name in tasks.classes() for key in ("published", "compute")
    } | {"tasks.math.retention", "Top level.probes"}


def test_the_hyperparameters_that_a_run_needs_are_called_required():
    found = {
        one.path[0]: stated(one.field, "absent")
        for one in KEYS
        if title(one.section) == "Hyper-parameters" and len(one.path) == 1
    }
    needed = {
        name: sorted(text[10:].partition(";")[0].split(", ")) if text != "required" else ["every"]
        for name, text in found.items()
        if text and text.startswith("required")
    }
    wanted = {name: ["every"] for name in REQUIRED}
    for task in tasks.classes().values():
        for name in task.required:
            if isinstance(name, str) and name not in wanted and found[name]:  # others have a default elsewhere
                wanted[name] = sorted(one for one, other in tasks.classes().items() if name in other.required)
    assert needed == wanted


def test_all_problems_are_reported_with_the_line_of_the_file(config, tmp_path):
    text = "tasks:\n  glue:\n    resources: {gpus: 1}\n    version: one\nmethods:\n  hra: {version: 0}\n"
    (tmp_path / "mine.yaml").write_text(text)
    merged = overlays.merged(config, yaml.safe_load(text))
    with pytest.raises(JobError) as error:
        validation.check(merged, [tmp_path / "mine.yaml"])
    found = [
        line.rpartition(" (")[2].rstrip(")").removeprefix(f"{tmp_path}/") for line in str(error.value).splitlines()
    ]
    assert sorted(found) == ["mine.yaml, line 3", "mine.yaml, line 4", "mine.yaml, line 6"]


def test_editors_accept_what_the_workflow_does():
    validator = Draft202012Validator(for_editors())
    shipped = overlays.shipped(ROOT)
    assert len(shipped) > 10
    for path in (*shipped, *(ROOT / "config/demo").glob("*.yaml"), *ROOT.glob("studies/equal_budgets/*.yaml")):
        content = yaml.safe_load(path.read_text())
        if isinstance(content, dict) and content.keys() & {"tasks", "models", "presets"}:
            assert not [f"{path}: {one.json_path}: {one.message}" for one in validator.iter_errors(content)]
    wrong = copy.deepcopy(paper_config())
    wrong["tasks"]["glue"]["resources"]["gpus"] = 1
    assert [one.json_path for one in validator.iter_errors(wrong)] == ["$.tasks.glue"]
