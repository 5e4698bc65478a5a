"""`make preflight`: what would make a real run fail, found in minutes and before a GPU-hour is spent.

Part `login` is a dry run of the requested tables. At its end, the sources of their downloads, disk and scheduler are
checked. Part `jobs` runs trial.py's short jobs through the profile. Every finding is a line, and all are written to
results/preflight.json, with the measured rates.
"""

import atexit
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from hra_workflow import tasks
from hra_workflow.core import files, grid, job
from hra_workflow.core.errors import JobError
from hra_workflow.cost import disk, downloads, plan
from hra_workflow.data import reachability
from hra_workflow.preflight import outcomes, site, trial
from hra_workflow.preflight.site import Finding
from hra_workflow.tasks.base import Task


def login(workflow, config: dict) -> None:
    """Print the plan and the findings of this machine; called at the end of the dry run."""
    if workflow.dag is None:  # the dry run has failed and has said so
        return
    plan.show(workflow, config)
    planned = {one.name: one for some in plan.of_dag(workflow.dag, config).values() for one in some}
    # What runs on the login node in every profile; `is_local` is true of every job without an executor.
    here = workflow._localrules | {rule.name for rule in workflow.rules if rule.norun}
    remote = [one for one in workflow.dag.needrun_jobs(exclude_finished=False) if one.rule.name not in here]
    found = [
        *sources(config, planned.values()),
        *site.disk(needed(config, planned.values())),
        *site.scheduler(site.requests(remote), workflow.resource_settings.nodes),
    ]
    save(config, "login", found)
    show(found)


def sources(config: dict, planned: Iterable) -> Iterator[Finding]:
    """Ask the source of every missing download for its first bytes."""
    for one in downloads.of(planned):
        entry, name = downloads.entry(config, one)
        check = f"source {name}"
        if not one.needed:
            yield Finding(check, True, "already downloaded")
        elif "source" not in entry:
            yield Finding(check, True, "not checked: lm-evaluation-harness chooses its addresses itself")
        else:
            print(f"  …     asking {check}", file=sys.stderr)
            yield reached(check, entry["source"], config)


def reached(check: str, source: dict, config: dict) -> Finding:
    found = reachability.ask(source, config["mirror"], config["local_root"])
    if found.problem:
        return Finding(check, False, found.problem)
    if source["kind"] == "archive":
        return Finding(check, True, "unpacked from an archive, which is a source of its own")
    if source["kind"] == "init":
        return Finding(check, True, "generated here")
    size = f", {found.size / 1e9:.3g} GB" if found.size else ""
    return Finding(check, True, f"{found.files} file{'s' * (found.files != 1)} reachable{size}")


def needed(config: dict, planned: Iterable) -> dict[str, float]:
    """Return the estimated bytes that the missing jobs will add to each folder."""
    found = disk.estimate(config, planned, missing=True)
    wanted = {name: sum(part.values()) for name, part in found.folders.items()} | {"scratch": found.training}
    return {folder: wanted.get(name, 0.0) for name, folder in config["pathvars"].items()}


# Jobs


def show_at_exit(workflow, config: dict) -> None:
    """Register what a dry run ends with: the cost estimate, and in part `login` the findings."""
    if workflow.output_settings.dryrun:
        atexit.register(login if config["preflight"] == "login" else plan.show, workflow, config)


def enter(workflow, config: dict) -> None:
    """In part `jobs`, replace the config with that of the trial runs."""
    if config["preflight"] != "jobs":
        return
    from snakemake.pathvars import Pathvars

    new = trial.config_of(config)
    config.clear()
    config.update(new)
    workflow.pathvars.update(Pathvars.from_config(config, module_level=True))  # also over those of a module


def inputs(config: dict, task: Task, table: str) -> list[str]:
    """List what rule `preflight_{table}` needs: the table itself at the login, else what the task's trial makes.

    That is the check of its device, its runs, and the evaluation of the last one.
    """
    if config["preflight"] == "login":
        return [f"<results>/table_{table}.csv"]
    runs, places = task.runs(), grid.places(config)
    found = [f"{places['run']}/train.json".format(task=task.name, **run) for run in runs]
    for run in runs[-1:]:
        found += trial.metrics(config, task, run)
    return [f"{config['pathvars']['results']}/device{gpus(task)}.json", *found] if runs else []


def gpus(task: Task) -> int:
    return int(task.settings["resources"].get("gpu", 0))


def device(config: dict, count: int) -> str | None:
    """Return the `device` of the tasks whose training jobs request this number of GPUs."""
    some = [task for task in tasks.load(config).values() if task.runs() and gpus(task) == count]
    return next((one for task in some if (one := task.settings["resources"].get("device"))), None)


def start(config: dict) -> None:
    """Delete the logs of earlier trial runs, whose rates must not be taken for those of this one.

    An interrupted preflight has left its results, and goes on with its logs.
    """
    if config["preflight"] == "jobs" and not Path(config["pathvars"]["results"]).exists():
        shutil.rmtree(config["pathvars"]["logs"], ignore_errors=True)


def finish(workflow, config: dict) -> None:
    """Print and save what the trial runs have found, and delete their files, except logs."""
    wanted = {one.wildcards_dict["task"] for one in workflow.dag.jobs if "task" in one.wildcards_dict}
    pairs = list(outcomes.of_trial(config, wanted))
    for name in ("results", "resources", "scratch"):
        shutil.rmtree(config["pathvars"][name], ignore_errors=True)
    original = {"pathvars": {name: str(Path(folder).parent) for name, folder in config["pathvars"].items()}}
    save(original, "jobs", [found for found, _ in pairs], [rate for _, rate in pairs if rate])
    found = [Finding(one["check"], one["ok"], one["text"]) for one in load(original)["findings"]]
    show(found)
    left = sum(not one.ok for one in found)
    print(f"{path(original)}: {len(found)} checks, {left or 'nothing'} to do")
    if left:
        raise SystemExit(f"make preflight: {left} of {len(found)} checks say TODO.")


# The report


def path(config: dict) -> Path:
    return Path(config["pathvars"]["results"], "preflight.json")


def load(config: dict) -> dict:
    """Return the last report; an empty one if there is none."""
    try:
        return files.read_json(path(config))
    except (FileNotFoundError, JobError):
        return {"findings": [], "rates": []}


def save(config: dict, part: str, found: list[Finding], rates: list[dict] | None = None) -> None:
    """Replace the findings of one part in the report, and the rates of the same tasks."""
    report = load(config)
    kept = [one for one in report["findings"] if one["part"] != part]
    measured = {one["task"] for one in rates or ()}
    old = [one for one in report["rates"] if one["task"] not in measured]
    new = [{"part": part} | asdict(one) for one in found]
    time_ = time.strftime(job.TIME, time.gmtime())
    files.write_json(path(config), {"time": time_, "findings": kept + new, "rates": old + (rates or [])})


def show(found: Iterable[Finding]) -> None:
    print("\n".join(map(str, found)))
