"""The five mechanisms that decide whether a job runs again (docs/reruns.md).

identity           `recorded`: the params that Snakemake records of a job are what its result depends on
manifests          `Downloads`: a finished download keeps the identity in its manifest while that describes the config
fingerprints       of training checkpoints: training/checkpoints.py
files              missing and newer ones, by Snakemake itself; those deleted below a table: tasks/expected_runs.py
recorded choices   `chosen`, and the backend of answers (tasks/math/serving.py): what a finished result keeps

reasons.py finds what differs, for the plan.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from snakemake.io import IOFile
from snakemake.iocontainers import Wildcards

from hra_workflow.core.errors import ending_the_run
from hra_workflow.data import finished_downloads, local_files, sources
from hra_workflow.tasks import user_data
from hra_workflow.tasks.base import Task

EXACT = 2**53  # every whole float below is an exact integer
Choice = TypeVar("Choice")


# Identity


def recorded(**params) -> dict:
    """Return the params that a result depends on; a value may be a function of wildcards, or a text with wildcards.

    Snakemake repeats a finished job if one of them differs in any detail. So they are recorded in a form that does not
    depend on how the config states them. It compares the set of all values, so each carries its name (core/job.py
    takes it off): otherwise, two that are exchanged, or one that becomes equal to another, would change nothing.
    """
    return {name: of_wildcards(name, param, canonical) for name, param in params.items()}


def recorded_in_order(**params) -> dict:
    """Return params of a table or a figure, which are recorded as they are: it shows the order of the config, too."""
    return {name: of_wildcards(name, param, lambda value: value) for name, param in params.items()}


def unrecorded(**params) -> dict:
    """Return the other params, as functions of `output`: these, Snakemake does not record."""
    return {name: of_output(param) for name, param in params.items()}


@dataclass(frozen=True)
class Recorded:
    """A param that Snakemake records, as a function of wildcards."""

    name: str
    param: object
    form: Callable

    def __call__(self, wildcards) -> dict:
        return {self.name: self.form(value_of(self.param, wildcards))}


def recorded_by(rule, wildcards: Callable = lambda own: own) -> Callable:
    """Return a param: the identity of another rule's job, which its results state (core/made_by.py).

    wildcards: function of the job's wildcards that returns those of the other, {} if there is none.
    """
    return lambda own: of_job(rule, Wildcards(fromdict=dict(wildcards(own))))


def of_job(rule, wildcards) -> dict:
    recorded = {name: param for name, param in rule.params.items() if isinstance(param, Recorded)} if wildcards else {}
    return {name: param(wildcards)[name] for name, param in recorded.items()}


def evaluations(rules, task: Task) -> list[dict[str, dict]]:
    """Return what the metrics of each run of a task are made by, by benchmark: `settings` and `generated`."""

    def made_by_benchmark(run: dict, benchmark: str) -> dict:
        rule = getattr(rules, task.evaluation.rule(benchmark))
        return made(rule, run | {"task": task.name, "benchmark": benchmark})

    return [
        {benchmark: made_by_benchmark(run, benchmark) for benchmark in task.evaluation.benchmarks(run)}
        for run in task.runs()
    ]


def made(rule, values: dict) -> dict:
    """Return what the metrics of a rule's job are made by; values: its wildcards."""
    wildcards = Wildcards(fromdict={name: str(value) for name, value in values.items()})
    generated = dict(rule.params.items()).get("generated")
    return {"settings": of_job(rule, wildcards)} | ({"generated": generated(wildcards, None)} if generated else {})


def of_wildcards(name: str, param, form: Callable) -> Callable:
    return Recorded(name, param, form)


def of_output(param) -> Callable:
    return lambda wildcards, output: value_of(param, wildcards)


def value_of(param, wildcards):
    if callable(param):
        return param(wildcards)
    return param.format(**wildcards) if isinstance(param, str) else param


def canonical(value):
    """Return an equal value with sorted keys at every depth, and whole numbers as integers."""
    if isinstance(value, Mapping):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < EXACT else value


# Recorded choices


def chosen(workflow, output: str, read: Callable[[list[str]], Choice | None], now: Callable[[], Choice]) -> Choice:
    """Return a choice of inputs that changes no result beyond rounding: as `read` from a finished job's, else `now`.

    Snakemake repeats a job whose inputs are others than it has recorded. Its record is the only place that both the
    plan and the job's own process, which finds the outputs deleted, can read; `persistence.input` is what it compares
    with itself, with any persistence backend.
    """
    recorded = workflow.persistence.input(IOFile(output))
    choice = None if recorded is None else read(recorded)
    return now() if choice is None else choice


def shards(workflow, merged: str, number: Callable[[], int]) -> list[str]:
    """Return `shard{i}-of-{n}` for every shard of a merged file; `number`: of one that does not exist."""

    def recorded(inputs: list[str]) -> int | None:
        found = re.search(r"\bshard0-of-(\d+)\.", " ".join(inputs))
        return int(found[1]) if found else None

    count = chosen(workflow, merged, recorded, number)
    return [f"shard{shard}-of-{count}" for shard in range(count)]


# Manifests of data


class Downloads:
    """Identity and input of the download rules. `tasks`: the tasks by name."""

    def __init__(self, config: dict, workflow, tasks: Mapping):
        self.config, self.workflow, self.tasks = config, workflow, tasks
        self.resources = config["pathvars"]["resources"]
        self.known: dict[str, dict] = {}  # per manifest: a retry of the job, which has deleted it, gets the same params

    def planned(self, wildcards) -> dict:
        named = dict(wildcards.items())
        manifest, source, dataset = self.entry(named)
        if manifest not in self.known:
            # A forced job takes the config's source: Snakemake deletes the manifest before it runs the job.
            settings = self.workflow.dag_settings  # known after the Snakefile is read
            forced = settings.forceall or any(rule.startswith("download") for rule in settings.forcerun)
            # Snakemake ignores what a function of wildcards raises if the outputs exist.
            try:
                with ending_the_run():
                    user_files = local_files.paths(source, root := self.config["local_root"], dataset)
                    local_files.check_links(user_files, source, root, dataset, self.config["follow_links"])
                    planned = finished_downloads.planned_params(source, None if forced else manifest, user_files)
                    # Without a record, Snakemake compares no params, and takes what another project has downloaded.
                    if not forced and self.workflow.persistence.input(IOFile(manifest)) is None:
                        finished_downloads.check_shared(planned, dataset, manifest, user_files)
                    if "dataset" in named:
                        user_data.check(self.tasks[named["task"]], named["dataset"])
            except SystemExit:
                if self.config["preflight"] != "login":  # which lists it with whatever else is wrong
                    raise
                planned = finished_downloads.planned_params(source, None if forced else manifest)
            self.known[manifest] = planned
        return self.known[manifest]

    def entry(self, named: dict[str, str]) -> tuple[str, dict, dict | None]:
        """Return the manifest of a download, its source, and for a dataset what the job gets of its entry."""
        if "model" in named:
            place, source, dataset = f"models/{named['model']}", self.config["models"][named["model"]]["source"], None
        elif "address" in named:
            place, source, dataset = f"archives/{named['address']}", sources.archive(named["address"]), None
        else:
            task, name = named["task"], named["dataset"]
            place, source = f"datasets/{task}/{name}", self.config["datasets"][task][name]["source"]
            dataset = self.tasks[task].data.download(name)
        return f"{self.resources}/{place}.manifest.json", source, dataset

    def source(self, wildcards) -> dict:
        return self.planned(wildcards)["source"]

    def contents(self, wildcards) -> str | None:
        return self.planned(wildcards)["contents"]

    def archive(self, wildcards) -> str | list:
        """Return the manifest of the archive that the source unpacks, or []."""
        source = self.source(wildcards)
        archived = source["kind"] == "archive"
        return f"{self.resources}/archives/{sources.address(source['url'])}.manifest.json" if archived else []

    def update_links(self) -> None:
        """Before the first job: update links to the user's files, and what their manifests note of them.

        Both are outdated after the files have been moved or copied, or touched. The manifests keep their times.
        """
        for manifest, download in self.known.items():
            if download.get("own"):
                finished_downloads.update_manifest(Path(manifest), download["paths"], download["own"])
