"""The requests of `hra-workflow export` and `predict`: a finished run, its weights, and new inputs.

A run is named by its folder; without a name, it is the best run of the table of a config with one task and dataset.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import grid, tuning
from hra_workflow.core.errors import JobError, expect
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.base import Task

WEIGHTS = r"last|best|\d+"  # names of a run's weights: a number is a step of a subject's run
SHOWN = 12  # maximum number of finished runs in an error
NAMED = "Name a run by its folder: --run RESULTS/TASK/DATASET/METHOD/VARIANT/seedN"
NAME = 60  # maximum characters of an input's name in a path
GIVEN = {  # the options of new inputs, with an example
    "texts": "--texts texts.csv",
    "images": "--images folder",
    "controls": "--controls folder-of-control-images",
    "prompts": "--prompts prompts.csv",
}


@dataclass(frozen=True)
class Request:
    """A request.

    run: folder, relative to the working directory. given: paths of new inputs. note: why this run was chosen.
    """

    run: str
    weights: str
    given: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    note: str = ""

    @property
    def card(self) -> str:
        return f"{self.run}/hub/{self.weights}/README.md"

    @property
    def predictions(self) -> str:
        return f"{self.run}/predictions/{self.weights}/{name_of(self.given, self.seed)}/predictions.csv"


def name_of(given: dict[str, str], seed: int | None) -> str:
    """Return the name of new inputs as a part of a path: the first one's, with a digest of all paths and the seed.

    Inputs with the same name in another folder, other prompts or another seed do not replace earlier predictions; the
    same inputs, even if edited, do.
    """
    places = {name: str(Path(path).resolve()) for name, path in given.items()}
    first = next((Path(place).stem for place in places.values()), "nothing")
    digest = hashlib.sha256(json.dumps([places, seed]).encode()).hexdigest()
    return re.sub(r"[^\w.-]+", "-", first)[:NAME] + f"-{digest[:8]}"


def weights_file(run: str, weights: str) -> str:
    """Return a run's weights: `last`, `best`, or those of a checkpoint step of a subject's run."""
    folder = f"steps/{weights}" if weights.isdigit() else weights
    return f"{run}/{folder}/adapter_model.safetensors"


def parse_request(config: dict, tasks: dict[str, Task], chosen: list[str]) -> Request | None:
    """Parse the key `request` of the config; raise JobError if the run or weights do not exist.

    chosen: the tasks of `all`, whose tables have the best runs.
    """
    asked = config["request"]
    if not asked:
        return None
    given = {name: asked[name] for name in GIVEN if name in asked}
    predicts = asked["command"] == "predict"
    if "run" in asked:
        run, weights, note = existing(config, tasks, asked["run"]), "last", ""
    else:
        names = [name for name in chosen if not predicts or accepts(tasks[name], given)] or chosen
        expect(len(names) == 1, f"expected a config with one task, found {', '.join(names)}. {NAMED}")
        run, weights, note = best(tasks[names[0]])
    task = tasks[Path(run).parts[-5]]
    if predicts:
        wanted = " or ".join(" ".join(GIVEN[name] for name in names) for names in task.predicts_from)
        passed = " ".join(f"--{name} {path}" for name, path in given.items()) or "nothing"
        expect(accepts(task, given), f"{run}: expected {wanted} to predict from, found {passed}.")
    weights = asked.get("weights", weights)
    if not predicts:
        check_exported(task, run, weights)
    if not Path(weights_file(run, weights)).exists():
        kept = sorted({path.parent.name for path in Path(run).rglob("adapter_model.safetensors")})
        raise JobError(f"{run}: expected weights {weights!r}, found {', '.join(kept)}. Pass --weights NAME.")
    seed = int(asked["seed"]) if "seed" in asked else None
    return Request(run, weights, given, seed, note)


def check_exported(task: Task, run: str, weights: str) -> None:
    """Raise JobError unless a run is an adapter, and the values that its trials chose are known."""
    _, dataset, method, variant, _ = Path(run).parts[-5:]
    name = f"{method}/{variant}"
    exported(task, name, weights_file(run, weights))
    chosen = grid.choice_file(task.config, task.name, dataset, name)
    expect(
        not tuned_runs.is_tuned(task, name) or Path(chosen).exists(),
        f"{run}: expected the values that its trials chose, found no {chosen}. Make it again (hra-workflow run).",
    )


def exported(task: Task, run: str, weights: str) -> str:
    """Return `weights` of `method/variant`; raise JobError if stock PEFT could not load them."""
    kind = grid.kind_of(task.config["methods"][run.split("/")[0]])
    expect(
        bool(methods.get(task.config, run.split("/")[0]).adapter.config),
        f"{run}: expected an adapter of PEFT to export, found weights of kind {kind}, which are a part of the "
        f"model. Name a run with an adapter (--run FOLDER); {weights} can be used here (hra-workflow predict).",
    )
    return weights


def accepts(task: Task, given: Iterable[str]) -> bool:
    return set(given) in map(set, task.predicts_from)


def existing(config: dict, tasks: dict[str, Task], asked: str) -> str:
    """Return the folder of a finished run; raise JobError, with a list of the finished runs, if it is not one."""
    results = config["pathvars"]["results"]
    known = [
        str(path.parent)
        for task in config["tasks"]
        for path in sorted(Path(results, task).glob("*/*/*/seed*/train.json"))
        if tuning.MARK not in path.parts[-3]
    ]
    run = os.path.relpath(asked.removesuffix("/train.json"))
    found = ", ".join(known[:SHOWN]) + f", … ({len(known)})" * (len(known) > SHOWN)
    expect(
        run in map(os.path.relpath, known),
        f"--run {asked}: expected the folder of a finished run in {results}, not of a trial, found none there. "
        f"Finished runs: {found or 'none'}. For those of another project, name it.",
    )
    task, dataset, method, variant, _ = Path(run).parts[-5:]
    expect(
        dataset in tasks[task].datasets and f"{method}/{variant}" in grid.every_run(config),
        f"--run {asked}: expected dataset and method of the config, found {dataset} and {method}/{variant}. Name the "
        "config of its training.",
    )
    expect(
        not methods.get(config, method).real_images,
        f"--run {asked}: expected a run with a model, found one that evaluates the real images.",
    )
    return next(one for one in known if os.path.relpath(one) == run)


def best(task: Task) -> tuple[str, str, str]:
    """Return the folder of the best run of a task's table, its weights, and a sentence with the reason.

    The best run is in the row with the best mean over seeds in the first column, by the first selection that is one
    checkpoint; among its seeds, it has the best value.
    """
    import pandas

    names, column = grid.datasets(task.config, task.name), grid.columns(task.config, task.name)[0]
    expect(len(names) == 1, f"expected one dataset in table_{task.name}, found {', '.join(names)}. {NAMED}")
    dataset, path = names[0], Path(task.config["pathvars"]["results"], f"runs_{task.name}.csv")
    expect(path.exists(), f"expected {path}, found no such file. Make the table first (hra-workflow run).")
    runs = pandas.read_csv(path, dtype=str, keep_default_na=False)
    wanted = {"dataset": dataset, "benchmark": column["benchmark"], "metric": column["metric"], "status": "ok"}
    runs = runs[(runs[[*wanted]] == [*wanted.values()]).all(axis=1) & (runs["step"] != "")]
    runs = runs[[methods.get(task.config, name).trains for name in runs["method"]]]
    selection = next((name for name in task.selections if name in set(runs["selection"])), None)
    expect(bool(selection), f"{path}: expected values of {column['metric']} on {dataset}, found none. {NAMED}")
    runs = runs[runs["selection"] == selection].astype({"value": float})
    sign = -1 if column.get("better") == "lower" else 1
    means = runs.groupby(["method", "variant"], sort=False)["value"].mean()
    method, variant = (sign * means).idxmax()
    seeds = runs[(runs["method"] == method) & (runs["variant"] == variant)]
    seed, value = seeds.loc[(sign * seeds["value"]).idxmax(), ["seed", "value"]]
    names = {"dataset": dataset, "method": method, "variant": variant, "seed": seed}
    run = grid.paths(task.config)["run"].format(task=task.name, **names)
    note = (
        f"{run} is the best run of table_{task.name}: {method}/{variant} has the best mean of {column['metric']} on "
        f"{dataset}, {column['benchmark']} ({means[method, variant]:.4g}, n = {len(seeds)}, {selection}), and "
        f"seed {seed} its best value ({value:.4g})."
    )
    return run, "last" if selection == "last" else "best", note
