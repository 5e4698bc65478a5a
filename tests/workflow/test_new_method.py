"""A method that nobody here has used is added by three lines of YAML and nothing else."""

import random

import pytest
import yaml
from snakemake.utils import update_config

from hra_workflow import methods
from hra_workflow.core import files, grid
from hra_workflow.methods import peft_types
from support import SMALL, TARGETS, paper_config

USED = {grid.kind_of(method) for method in paper_config()["methods"].values()}
NEW = [
    kind
    for kind in sorted({*peft_types.types()} - {*peft_types.UNSUPPORTED} - USED)
    # ln_tuning's targets are another list.
    if methods.of_type(kind).runs("glue") and methods.of_type(kind).adapter.linear
]
LINES = """\
methods:
  novel: {{kind: peft, type: {kind}, version: 1, variants: {{v: {{targets: paper, peft: {peft}}}}}}}
tasks: {{glue: {{grid: [{{runs: [novel/v], datasets: [cola], seeds: [0]}}]}}}}
"""


@pytest.mark.slow
def test_a_type_chosen_at_random_is_three_lines_of_yaml(fresh, tmp_path, make_run):
    """The type is in the file that a failure shows. It is planned, trained, stored and evaluated."""
    import evaluate_glue
    import train_glue

    kind = random.SystemRandom().choice(NEW)
    lines = LINES.format(kind=kind, peft=yaml.safe_dump(SMALL.get(kind, {}), default_flow_style=True).strip())
    assert len(lines.splitlines()) == 3
    file = tmp_path / "novel.yaml"
    file.write_text(lines)
    planned = fresh.plan("results/table_glue.csv", config=str(file))
    assert planned["train_glue"] == {"task=glue dataset=cola method=novel variant=v seed=0"}, lines
    config = paper_config()
    update_config(config, yaml.safe_load(lines))
    run = make_run(grid.method(config, "glue", "novel", "v") | {"targets": TARGETS})
    train_glue.main(run.train)
    evaluate_glue.main(run.evaluate)
    record, metrics = (
        files.read_json(run.train["output"]["record"]),
        files.read_json(run.evaluate["output"]["metrics"]),
    )
    assert 0 < record["adapter_parameters"] < record["total_parameters"], lines
    assert metrics["selections"]["last"]["metrics"]["accuracy"]["value"] == record["curve"][-1]["metrics"]["accuracy"]
