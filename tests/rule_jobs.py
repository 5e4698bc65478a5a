"""Jobs as the rules hand them to their scripts, for tests that call scripts as functions."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from hra_workflow.core import made_from
from hra_workflow.core.made_from import ROUNDING

ROOT = Path(__file__).parents[1]
# Run by a dry run: the rules are read as Snakemake reads them.
READ = """
import json, sys
from snakemake.cli import main
from snakemake.io import is_flagged
sys.path.insert(0, sys.argv[1] + "/workflow/scripts")
from hra_workflow.snakemake_bridge import handlers, identities

kept = []

class Kept(identities.Identities):
    def __init__(self):
        super().__init__()
        kept.append(self)

identities.Identities = Kept

def show(workflow, config, basedir):
    def given(names):
        return [str(name) for name in names]

    def fixed(param):
        return not callable(param) and not (isinstance(param, str) and "{" in param)

    stages = {rule.name: kept[0].stages.get(rule.name, identities.Stage()) for rule in workflow.rules}

    names = {
        rule.name: {part: given(getattr(rule, part).keys()) for part in ("input", "output", "params")}
        | {"settings": list(stages[rule.name].settings), "before": list(stages[rule.name].before)}
        | {"constant": [name for name, param in stages[rule.name].settings.items() if fixed(param)]}
        | {"temporary": any(is_flagged(path, "temp") for path in rule.output)}
        for rule in workflow.rules
    }
    print("RULES", json.dumps(names))

handlers.end_of_dry_run = show
target = "results/glue/cola/hra/r8/seed0/train.json"
main(["-n", "-q", "-s", sys.argv[1] + "/Snakefile", "--directory", sys.argv[2], "--", target])
"""

BUILT: dict[str, dict] = {}  # what each output of a job that was built is made from, by its path
# Params of all tasks.
UNSET = dict.fromkeys(
    ("processes", "gradient_checkpointing", "eval_batch_size", "device", "lost", "identity", "runs", "real")
)


@cache
def names() -> dict[str, dict[str, list[str]]]:
    """Return the names of the inputs, outputs, params, settings and results before of every rule."""
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
    if settings := given.get("hyperparameters"):
        given |= {name: settings[name] for name in ROUNDING if name in settings}
        given["hyperparameters"] = {name: value for name, value in settings.items() if name not in ROUNDING}
    before = {}
    for name in set(of_rule["before"]) & set(input):
        path = input[name] if isinstance(input[name], list) else [input[name]]
        if path and str(path[0]) in BUILT:
            before[name] = BUILT[str(path[0])]
    given["expects"] = {"settings": of_rule["settings"], "before": before}
    settings = {name: given[name] for name in of_rule["settings"]}
    digests = {name: made_from.digest_of(one) for name, one in before.items()}
    named = set(wildcards) - ({"benchmark"} if rule.startswith("train") else set())
    made = {
        "result": made_from.result({name: wildcards[name] for name in named}),
        "settings": settings,
        "before": digests,
    }
    if rule.startswith("gather"):  # merged files record what the shards are made from
        made = before.get("shards", made) | {"result": made["result"]}
    BUILT.update({str(path): made for path in output.values()})
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


def download(kind: str, manifest: Path | str, source: dict, **params) -> dict:
    """Return the job that downloads a `model` or a `dataset`."""
    common = {"name": "any", "source": source, "local_root": ".", "network": True}
    entry = params.get("dataset") or {}
    tasks = {"resolution": "subject", "archives": "control", "answer": "math", "splits": "glue"}
    task = next(({"task": task} for key, task in tasks.items() if key in entry), {})
    job = {"rule": f"download_{kind}", "input": {}, "output": {"manifest": str(manifest)}, "params": common | params}
    return job | {"resources": {}, "wildcards": task, "log": ""}


class Run:
    """A run of a task in a folder, with the jobs that the rules hand out; `given`: manifests of model and data."""

    task: str
    data: str  # its name
    SETTINGS: dict
    SAVED = ("last",)
    GIVEN: ClassVar = {}  # params that the task's rules give to several scripts
    report_to: tuple[str, ...] = ()

    def __init__(self, folder: Path, given: dict, method: dict, seed: int = 0, **settings):
        self.folder, self.tiny, self.method, self.seed = folder, given, method, seed
        self.settings = self.SETTINGS | settings
        self.wildcards = {"task": self.task, "dataset": self.data, "method": method["kind"], "variant": "v"}
        self.wildcards["seed"] = str(seed)

    def defaults(self) -> dict:
        """Return values of the params that the rules give to several scripts."""
        return {
            "method": self.method,
            "precision": "float32",
            "seed": str(self.seed),
            "task_version": 1,
            "device": "cpu",
            "preset": "test",
            "hyperparameters": self.settings,
            "model_name": "tiny",
            "benchmarks": [],
            "expected": {},
            "scratch": str(self.folder / "scratch"),
            "trackers": {"report_to": list(self.report_to), "folder": str(self.folder / "trackers")},
        } | self.GIVEN

    def job(self, rule: str, input: dict, output: dict, **params) -> dict:
        return build(rule, self.folder, dict(self.wildcards), input, output, params, self.defaults())

    def started(self) -> "Run":
        """Make what the training starts from."""
        import_module("augment").main(self.augment)
        return self

    def copy(self, folder: Path) -> "Run":
        """Return the run with its files in another folder."""
        shutil.copytree(self.folder, folder)
        return type(self)(folder, self.tiny, self.method, self.seed, **self.settings)

    @property
    def augment(self) -> dict:
        return self.job("augment", {"model": self.tiny["model"]}, {"manifest": self.folder / "augmented/manifest.json"})

    @property
    def weights(self) -> dict[str, str]:
        return {name: str(self.folder / f"run/{name}/adapter_model.safetensors") for name in self.SAVED}

    @property
    def last(self) -> Path:
        return Path(self.weights["last"])


def maker(kind: type[Run], folder: Path, given: dict) -> Callable[..., Run]:
    """Return make(method, name=…, **settings): a run in a folder of its own, ready to be trained."""
    return lambda method, name="run", **settings: kind(folder / name, given, method, **settings).started()


def train(run: Run) -> dict:
    """Run the training job in this process and return its record."""
    job = run.train
    import_module(job["rule"]).main(job)
    assert not [path for path in job["output"].values() if not Path(path).exists()]
    return json.loads(Path(job["output"]["record"]).read_text())
