"""hra_workflow/methods/__init__.py has one entry per kind of method, and no other code compares with a kind's name."""

import ast
import copy
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from hra_workflow import methods, tasks
from hra_workflow.config.method_checks import check_variant
from hra_workflow.core.errors import JobError
from hra_workflow.methods import peft_types
from hra_workflow.methods.base import Adapter, Method
from hra_workflow.models import adapters
from support import method

WORKFLOW = Path(__file__).parents[2] / "workflow"
RULES = [*WORKFLOW.parent.glob("rules/**/*.smk"), WORKFLOW.parent / "Snakefile"]
SCRIPTS = [path for path in WORKFLOW.glob("scripts/**/*.py") if path != Path(methods.__file__)]


def literals(node, constants: dict[str, str]) -> list[str]:
    """Return the strings of a node, or in a tuple, list or set, resolving names of constants."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [value for one in node.elts for value in literals(one, constants)]
    if isinstance(node, ast.Name | ast.Attribute):
        return [constants[name]] if (name := getattr(node, "id", getattr(node, "attr", ""))) in constants else []
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def assigned(tree) -> dict[str, str]:
    """Return the module's string constants by name."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    return found


def compared(tree, constants: dict[str, str]) -> list[tuple[int, str]]:
    """Line and text of every string that is compared with, is in a tuple, list or set, or is the key of a dict."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=ast.Subscript(slice=ast.Constant(value="serve")) | ast.Name(id="serve" | "served")):
                operands = []  # `lora` is also a way to serve
            case ast.Dict(keys=[ast.Constant(value="prompt"), *_]):
                operands = []  # `reference` is also the answer that a response is graded by
            case ast.Compare():
                operands = [node.left, *node.comparators]
            case ast.Tuple() | ast.List() | ast.Set():
                operands = [one for one in node.elts if isinstance(one, ast.Constant)]
            case ast.Dict():
                operands = [key for key in node.keys if key]
            case ast.MatchValue():
                operands = [node.value]
            case _:
                operands = []
        found += [(node.lineno, text) for operand in operands for text in literals(operand, constants)]
    return found


def places_of(names: set[str]) -> list[str]:
    """List `file:line: name` wherever scripts or rules compare with one of the names."""
    trees = {path: ast.parse(path.read_text()) for path in SCRIPTS}
    constants = {key: value for tree in trees.values() for key, value in assigned(tree).items() if value in names}
    places = [
        f"{path.relative_to(WORKFLOW.parent)}:{line}: {text}"
        for path, tree in trees.items()
        for line, text in compared(tree, constants)
        if text.lower() in names
    ]
    name = rf"""["']({"|".join(sorted(names))})["']"""
    pattern = re.compile(rf"""(==|!=|\bin)\s*[(\[{{]?\s*(["'][^"']*["'],\s*)*{name}|{name}\s*(==|!=|:|in\b)""")
    for path in RULES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if pattern.search(line):
                places.append(f"{path.relative_to(WORKFLOW.parent)}:{number}: {line.strip()}")
    return places


def test_only_methods_py_compares_with_the_name_of_a_kind():
    assert places_of(set(methods.METHODS)) == []


def test_only_a_task_s_rooms_compare_with_its_name():
    rooms = ("workflow/hra_workflow/tasks/", "rules/tasks/")
    assert [place for place in places_of(set(tasks.classes())) if not place.startswith(rooms)] == []


def test_the_page_of_methods_lists_the_kinds_of_every_task():
    text = (WORKFLOW.parent / "docs/config/methods.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `kind` per task |"))
    listed = dict(re.findall(r"(\w+): ([a-z, ]+\w)", row))
    assert listed == {task: ", ".join(methods.kinds_of(task)) for task in tasks.classes()}


@pytest.mark.parametrize("kind", methods.METHODS)
def test_what_an_entry_names_exists(kind):
    entry = methods.METHODS[kind]
    assert entry.base in ("all", "biases", "none")
    for name in filter(None, (entry.penalty, entry.adapter.export_lora, *entry.callbacks)):
        assert callable(resolve_name(name))
    if entry.adapter.config:
        fields = peft_types.config_class(entry.adapter.config).__dataclass_fields__
        assert {*entry.adapter.one_of, *entry.adapter.unused} <= set(fields)


@pytest.mark.parametrize(
    ("kind", "variant", "message"),
    [
        ("adalora", {"peft": {}, "targets": "paper"}, "here: kind adalora needs `budget`"),
        ("lora", {"peft": {}, "targets": "paper", "budget": {}}, "here: budget is for kind adalora, this is lora"),
        ("full", {"penalty": "norm"}, "here: penalty is for kind hra, this is full"),
        (
            "oft",
            {"peft": {"r": 4, "oft_block_size": 8}, "targets": "paper"},
            "here: expected one of peft.r and peft.oft",
        ),
    ],
)
def test_a_variant_s_keys_are_those_of_its_kind(kind, variant, message):
    with pytest.raises(JobError, match=message):
        check_variant("here", {"kind": kind}, variant)


def test_a_new_method_is_one_entry(monkeypatch, tmp_path):
    """FourierFT, which no other code here names, is checked, inserted, saved and loaded."""
    import torch

    monkeypatch.setitem(methods.METHODS, "fourierft", Method(adapter=Adapter("fourierft")))
    assert "fourierft" in methods.kinds_of("a fifth task")
    chosen = method("fourierft", peft={"n_frequency": 5}, targets=["0"])
    check_variant("here", chosen, {"peft": chosen["peft"], "targets": "paper"})
    base = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 2))
    x, fresh = torch.randn(3, 6), copy.deepcopy(base)
    adapted = adapters.insert(base, chosen)
    torch.nn.init.normal_(adapted.base_model.model[0].fourierft_spectrum["default"])
    adapters.save(adapted, tmp_path)
    expected = adapted(x)
    assert not torch.allclose(expected, fresh(x))
    assert torch.equal(adapters.load(fresh, chosen, tmp_path)(x), expected)


def test_a_method_without_a_penalty_adds_nothing_to_the_loss():
    from hra_workflow.training.optimizers import penalty

    assert penalty(None, method("lora")) is None
    assert penalty(None, method("hra")) is None  # λ = 0
