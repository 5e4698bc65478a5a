"""The entries of hra_workflow/methods/__init__.py, one per kind of method."""

import re
from pkgutil import resolve_name

import pytest

from hra_workflow import methods, tasks
from hra_workflow.config.method_checks import check_variant
from hra_workflow.core.errors import JobError
from hra_workflow.methods import peft_types
from support import ROOT, paper_config


def test_the_page_of_methods_lists_the_kinds_of_every_task():
    text = (ROOT / "docs/config/methods.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `kind` per task |"))
    listed = dict(re.findall(r"(\w+): ([a-z, ]+\w)", row))
    assert listed == {task: ", ".join(methods.kinds_of(task)) for task in tasks.classes()}


@pytest.mark.parametrize("kind", methods.METHODS)
def test_what_an_entry_names_exists(kind):
    entry = methods.METHODS[kind]
    assert entry.base in ("all", "biases", "none")
    for name in filter(None, (entry.penalty, entry.adapter.to_lora, *entry.callbacks)):
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
        ("oft", {"peft": {"r": 4, "oft_block_size": 8}, "targets": "paper"}, "here: expected one of peft.r and peft.o"),
    ],
)
def test_a_variant_s_keys_are_those_of_its_kind(kind, variant, message):
    with pytest.raises(JobError, match=message):
        check_variant("here", {"kind": kind}, variant)


def test_the_figure_over_lambda_joins_only_runs_of_one_rank_and_start():
    config = paper_config()
    variants = config["methods"]["hra"]["variants"]
    variants["scaled"] = variants["r8"] | {"peft": {"r": 8, "init_scale": 0.1}}
    runs = [f"hra/{name}" for name in ("r8", "r16", "scaled")]
    config["tasks"]["glue"]["grid"] = [{"runs": runs, "datasets": ["rte"], "seeds": [0]}]
    series = [one["series"] for one in methods.lambdas(config, "glue").values()]
    assert series == ["r=8", "r=16", "r=8, initial scale 0.1"]
