"""The entries of hra_workflow/methods/__init__.py, one per kind of method."""

import re

from hra_workflow import methods, tasks
from support import ROOT, paper_config


def test_the_page_of_methods_lists_the_kinds_of_every_task():
    text = (ROOT / "docs/config/methods.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `kind` per task |"))
    listed = dict(re.findall(r"(\w+): ([a-z, ]+\w)", row))
    assert listed == {task: ", ".join(methods.kinds_of(task)) for task in tasks.classes()}


def test_the_figure_over_lambda_joins_only_runs_of_one_rank_and_start():
    config = paper_config()
    variants = config["methods"]["hra"]["variants"]
    variants["scaled"] = variants["r8"] | {"peft": {"r": 8, "init_scale": 0.1}}
    runs = [f"hra/{name}" for name in ("r8", "r16", "scaled")]
    config["tasks"]["glue"]["grid"] = [{"runs": runs, "datasets": ["rte"], "seeds": [0]}]
    series = [one["series"] for one in methods.lambdas(config, "glue").values()]
    assert series == ["r=8", "r=16", "r=8, initial scale 0.1"]
