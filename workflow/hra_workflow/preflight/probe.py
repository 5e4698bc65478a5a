"""The config of the probes of `hra-workflow smoke`: the grid's models and settings on synthetic data.

Every task keeps one run per kind of method as a probe. The workflow's rules and scripts run the probes, so they measure
the code of the real runs, for 20 steps. Weights that are not downloaded yet are random. Config key `probes` changes
steps, models and more, and may name a command that runs the jobs.
"""

import copy
import shutil
from pathlib import Path

from hra_workflow import methods, tasks
from hra_workflow.core import grid, imports, rates
from hra_workflow.data import sources
from hra_workflow.evaluators import registry
from hra_workflow.tasks import work
from hra_workflow.tasks.base import Task

NAME = "preflight"  # name of the dataset and the preset
MINUTES = 20  # maximum that a job requests: short jobs start sooner


def config_of(config: dict) -> dict:
    """Return the config of the probes."""
    new = copy.deepcopy(config)
    new["report_to"] = []
    new["pathvars"] = {name: f"{folder}/{config['probes']['folder']}" for name, folder in config["pathvars"].items()}
    new["models"] = {name: model | {"source": source(config, name)} for name, model in config["models"].items()}
    for method in new["methods"].values():
        for variant in method["variants"].values():
            variant |= {"peft": quick(variant["peft"])} if "peft" in variant else {}
    for name, task in tasks.load(config).items():
        if task.settings:
            new["tasks"][name]["workloads"] = {run: work.workload(task, run) for run in ("", *runs(task))}
        if task.settings and not (runs(task) and shorten(new, task)):
            new["tasks"][name]["grid"] = []
    return new


def workload(task: Task, run: str = "") -> dict[str, str | None]:
    """Return what a rate of a probe is valid for, which cost/estimates.py compares with the config."""
    return {"task": task.name, "run": run, "workload": task.settings.get("workloads", {}).get(run)}


def quick(peft: dict) -> dict:
    """Remove LoRA initialisations that PEFT names by a text, such as an SVD: slow, but without effect on a step."""
    return {key: value for key, value in peft.items() if not (key == "init_lora_weights" and isinstance(value, str))}


def manifest(config: dict, model: str) -> Path:
    return Path(config["pathvars"]["resources"], "models", f"{model}.manifest.json")


def source(config: dict, model: str) -> dict:
    """Return a model's source for the probes: its downloaded files, else its configurations on the Hub."""
    stated, path = config["models"][model]["source"], manifest(config, model)
    own = config["probes"]["models"]
    if own and (found := imports.import_named(own, "config: probes.models")(model)):
        return found
    if path.exists():
        return {"kind": "local", "path": str((path.parent / model).absolute())}
    return sources.of(stated).for_probes() or stated


def available(config: dict, model: str) -> bool:
    """Return whether a model can be probed: files at a URL have no configuration to build random weights from."""
    return bool(sources.of(config["models"][model]["source"]).for_probes()) or manifest(config, model).exists()


def runs(task: Task) -> list[str]:
    """Return the trained `method/variant` with the largest sizes per kind and set of switches, such as λ = ∞."""
    largest: dict[tuple, tuple] = {}
    for run in grid.run_names(task.config, task.name):
        method, variant = run.split("/")
        peft = task.config["methods"][method]["variants"][variant].get("peft", {})
        size = sum(value for value in peft.values() if type(value) in (int, float))
        switches = [(name, value) for name, value in sorted(peft.items()) if isinstance(value, bool | str)]
        kind = grid.kind_of(task.config["methods"][method]), *switches
        if methods.get(task.config, method).trains and (kind not in largest or size > largest[kind][0]):
            largest[kind] = size, run
    return [run for _, run in largest.values()]


def dataset(task: Task) -> str:
    """Return the dataset of the grid with the most work."""

    def work(name: str) -> float:
        runs = [run for run in task.runs() if run["dataset"] == name]
        return sum(task.work("train", run) or 0 for run in runs if methods.get(task.config, run["method"]).trains)

    return max(grid.datasets(task.config, task.name), key=work)


def shorten(new: dict, task: Task) -> bool:
    """Replace the task's data, preset and grid in the config `new`; return False if the task has no probe."""
    name, chosen, data = task.name, runs(task), dataset(task)
    settings = {run: task.hyperparameters(data, run) for run in chosen}
    datasets = grid.datasets(task.config, name)
    lengths = [task.hyperparameters(of, run).get("max_length") for of in datasets for run in chosen]
    longest = max(filter(None, lengths), default=None)
    probes = task.config["probes"]
    # Texts have different lengths, so every batch gets other rows; images have one size.
    rows = max(task.period(one) * one["batch_size"] for one in settings.values())
    rows *= probes["steps"] if longest else 1
    values = {run: short(one, rows, longest, probes, task.period(one)) for run, one in settings.items()}
    period = rates.period(values[chosen[0]])
    values[chosen[0]]["kill_at_step"] = -(-probes["kill_at"] // period) * period
    if not (made := task.probe(data, rows, values[chosen[-1]])):
        return False
    entries, changes = made
    new["datasets"].setdefault(name, {}).update(entries)
    new["presets"].setdefault(name, {})[NAME] = {"source": NAME, "all": {}, "methods": values}
    new["tasks"][name] |= copy.deepcopy(changes) | {
        "preset": NAME,
        "published": False,
        "grid": [{"runs": chosen, "datasets": [NAME], "seeds": [0]}],
    }
    entry = new["tasks"][name]
    # The synthetic data has one split to evaluate, the only benchmark of its runs.
    entry |= {key: None for key in ("selection", "tune") if key in entry}
    if evaluation := entry.get("evaluation"):
        kept = [one for one in evaluation["evaluators"] if "model" not in one or available(task.config, one["model"])]
        left_out = [one["name"] for one in evaluation["evaluators"] if one not in kept]
        entry["evaluation"] = evaluation | {"evaluators": kept, "left_out": left_out}
        if "best_by" in evaluation:
            metrics = registry.metrics(kept)
            best_by = [metric for metric in evaluation["best_by"] if metric in metrics]
            entry["evaluation"]["best_by"] = best_by or metrics[:1]
    limit(entry, {"threads": probes["threads"]} if probes["threads"] else {})
    return True


def metrics(config: dict, task: Task, run: dict) -> list[str]:
    """List the metrics files of a run; none if all evaluators of its dataset are excluded."""
    found = task.entry(run["dataset"])
    possible = task.settings.get("evaluation", {}).get("evaluators", [True]) and found["score"]
    benchmarks = found["benchmarks"] if possible else ()
    return [
        f"{grid.paths(config)['eval']}/metrics.json".format(task=task.name, benchmark=one, **run) for one in benchmarks
    ]


def short(settings: dict, rows: int, longest: int | None, probes: dict, period: int) -> dict:
    """Return a run's hyper-parameters for the steps of a probe on `rows` rows."""
    # Schedules in steps are left out, and vLLM, whose process `command` would not run.
    kept = () if probes["command"] else (grid.SAMPLER,)
    flat = {key: value for key, value in settings.items() if key in kept or not isinstance(value, dict)}
    steps = max(probes["steps"], 2 * period)
    changes = {"max_steps": steps, "epoch_steps": steps, "eval_steps": steps, "max_length": longest}
    changes["epochs"] = steps * settings["batch_size"] / rows
    # Sorted from long to short, the first step would have the longest texts, and a resumed run does not repeat it.
    changes |= {"shuffle": True, "group_by_length": False} if not flat.get("shuffle", True) else {}
    of_probe = {"kill_at_step": 0} | ({"period": period} if period > 1 else {})
    return flat | {key: value for key, value in changes.items() if key in flat} | of_probe


def limit(entry: dict, changes: dict) -> None:
    """Lower every `runtime` in a task's entry, and apply the `changes` to its resources."""
    for key, value in entry.items():
        if key == "resources" and "runtime" in value:
            entry[key] = value | {"runtime": min(value["runtime"], MINUTES)} | changes
        elif isinstance(value, dict):
            limit(value, changes)


# Their jobs


def inputs(config: dict, task: Task) -> list[str]:
    """List the outputs of a task's probes: its runs, and the evaluation of the last one."""
    probes, places = task.runs(), grid.paths(config)
    files = [f"{places['run']}/train.json".format(task=task.name, **run) for run in probes]
    for run in probes[-1:]:
        files += metrics(config, task, run)
    return files


def forget_logs(config: dict) -> None:
    """Delete the logs of earlier probes, so that their rates are not used.

    An interrupted preflight has left its results, and continues with its logs.
    """
    if not Path(config["pathvars"]["results"]).exists():
        shutil.rmtree(config["pathvars"]["logs"], ignore_errors=True)
