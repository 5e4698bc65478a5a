"""Every key of the config has a meaning and valid examples and defaults; what is made from them is current."""

import copy
import re

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter, ValidationError

from config_keys import description
from config_pages import Key, for_editors, keys, pages
from hra_workflow.config import overlays, validation
from hra_workflow.core.errors import JobError
from hra_workflow.keys.section import stated
from support import ROOT, paper_config

KEYS = [one for sections in pages().values() for section in sections for one in keys(section)]
CODE = "\n".join(
    path.read_text()
    for name in ("rules", "workflow/hra_workflow", "workflow/scripts")
    for path in (ROOT / name).rglob("*.*")
    if path.suffix in (".py", ".smk") and path.name != "keys.py" and path.parent.name != "keys"
)


def problems(one: Key) -> list[str]:
    """List what a key lacks."""
    found = [] if description(one.field) else [f"{one}: expected a description, found none"]
    required = one.field.is_required() or stated(one.field, "absent")
    is_model = isinstance(one.field.annotation, type) and issubclass(one.field.annotation, BaseModel)
    adapter = TypeAdapter(one.field.rebuild_annotation(), config=None if is_model else {"strict": True})
    for value in [*(one.field.examples or ()), *([] if required else [one.field.default])]:
        try:
            adapter.validate_python(value)
        except ValidationError as problem:
            found.append(f"{one}: {value!r}: {problem}")
    if one.path[0] != "adalora" and not re.search(rf"[\"'.]{re.escape(one.path[-1])}\b", CODE):  # PEFT reads AdaLoRA's
        found.append(f"{one}: expected code that reads it, found none")
    return found


def test_every_key_has_a_meaning_and_valid_examples_and_is_read():
    assert len(KEYS) > 200
    generic = ("tune.search", "tune.methods", "presets.{task}.{name}.all")
    found = [problem for one in KEYS if str(one) not in generic for problem in problems(one)]
    assert not found, "\n".join(found)


def test_all_problems_are_reported_with_the_line_of_the_file(config, tmp_path):
    text = "tasks:\n  glue:\n    resources: {gpus: 1}\n    version: one\nmethods:\n  hra: {version: 0}\n"
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(JobError) as error:
        validation.check(overlays.merged(config, yaml.safe_load(text)), [tmp_path / "mine.yaml"])
    assert sorted(re.findall(r"mine.yaml, line (\d)\)$", str(error.value), re.MULTILINE)) == ["3", "4", "6"]


def test_editors_accept_what_the_workflow_does():
    validator = Draft202012Validator(for_editors())
    for path in (*overlays.shipped(ROOT), *ROOT.glob("config/demo/*.yaml"), *ROOT.glob("studies/equal_budgets/*.yaml")):
        content = yaml.safe_load(path.read_text())
        if isinstance(content, dict) and content.keys() & {"tasks", "models", "presets"}:
            assert not [f"{path}: {one.json_path}: {one.message}" for one in validator.iter_errors(content)]
    wrong = copy.deepcopy(paper_config())
    wrong["tasks"]["glue"]["resources"]["gpus"] = 1
    assert [one.json_path for one in validator.iter_errors(wrong)] == ["$.tasks.glue"]
