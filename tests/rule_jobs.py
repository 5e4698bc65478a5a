"""Jobs as the rules hand them to their scripts, for tests that call scripts as functions."""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Run by a dry run: the rules are read as Snakemake reads them.
READ = """
import json, sys
from snakemake.cli import main
sys.path.insert(0, sys.argv[1] + "/workflow/scripts")
from hra_workflow.snake import handlers

def show(workflow, config):
    def given(names):
        return [str(name) for name in names]

    names = {
        rule.name: {part: given(getattr(rule, part).keys()) for part in ("input", "output", "params")}
        for rule in workflow.rules
    }
    print("RULES", json.dumps(names))

handlers.end_of_dry_run = show
target = "results/glue/cola/hra/r8/seed0/train.json"
main(["-n", "-q", "-s", sys.argv[1] + "/Snakefile", "--directory", sys.argv[2], "--", target])
"""

UNSET = dict.fromkeys(("processes", "gradient_checkpointing", "eval_batch_size", "device"))  # params of all tasks


@cache
def names() -> dict[str, dict[str, list[str]]]:
    """Return the names of the inputs, outputs and params of every rule."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", READ, ROOT, folder], cwd=ROOT, capture_output=True, text=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RULES ")] or [done.stderr]
    return json.loads(line.removeprefix("RULES "))


def build(rule: str, folder: Path, wildcards: dict, input: dict, output: dict, params: dict, defaults: dict) -> dict:
    """Return the job of a rule, with its names: `params`, and from `defaults` what else the rule gives its script."""
    of_rule = names()[rule]
    assert set(input) == set(of_rule["input"]), (rule, set(input) ^ set(of_rule["input"]))
    assert set(output) == set(of_rule["output"]), (rule, set(output) ^ set(of_rule["output"]))
    assert set(params) <= set(of_rule["params"]), (rule, set(params) - set(of_rule["params"]))
    given = UNSET | defaults | params
    return {
        "rule": rule,
        "input": input,
        "output": {name: str(path) for name, path in output.items()},
        "params": {name: given[name] for name in of_rule["params"]},
        "resources": {"gpu": 0, "save_seconds": 3600},
        "threads": 1,
        "wildcards": wildcards,
        "log": str(folder / f"{rule}.log"),
    }
