"""The five mechanisms that decide whether a job runs again (docs/reruns.md).

identity           `recorded`: Snakemake records the params of a job that its result depends on; `recorded_by` adds the
                   identity of the jobs before it, whose outputs a killed job leaves missing
manifests          `Downloads`: a finished download keeps the identity in its manifest while the config matches it
fingerprints       training checkpoints have one: training/checkpoints.py
files              Snakemake finds newer ones, and missing ones that a planned job needs; `lost_inputs` those of tables
recorded choices   `chosen`, and the backend of answers (tasks/math/serving.py): finished results keep their choice

reasons.py finds and describes the differences.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from snakemake.io import IOFile
from snakemake.iocontainers import Wildcards

from hra_workflow.core import fingerprints, made_by
from hra_workflow.core.errors import ending_the_run
from hra_workflow.data import finished_downloads, local_files, sources
from hra_workflow.tasks import user_data
from hra_workflow.tasks.base import Task

LOST = "lost inputs"
MANIFEST = re.compile(r"\b(?:models/(?P<model>[^/]+)|datasets/(?P<task>[^/]+)/(?P<dataset>[^/]+))\.manifest\.json$")
EXACT = 2**53  # every whole float below is an exact integer
Choice = TypeVar("Choice")


# Identity


def recorded(**params) -> dict:
    """Return the params that a result depends on; a value may be a function of wildcards, or a text with wildcards.

    Snakemake repeats a finished job if one of them differs in any detail, so they are recorded in a form that does not
    depend on their notation in the config. Snakemake compares the set of all values, so each value contains its name
    (core/job.py removes it): otherwise, two exchanged values, or a value that becomes equal to another, would not count
    as a change.
    """
    return {name: of_wildcards(name, param, canonical) for name, param in params.items()}


def recorded_in_order(**params) -> dict:
    """Return params of a table or figure, recorded in the order of the config, which the table or figure shows."""
    return {name: of_wildcards(name, param, lambda value: value) for name, param in params.items()}


def unrecorded(**params) -> dict:
    """Return the other params, as functions of `output`, which Snakemake does not record."""
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
    """Return a param: the identity of another rule's job, which the other job's results contain (core/made_by.py).

    Snakemake deletes the outputs of a job that starts, and does not miss them if no other job is planned. So the jobs
    after it record its identity, too: if it was killed under a changed config, they are planned, and need its outputs.

    wildcards: function of the job's wildcards that returns the other job's wildcards, {} if there is no such job.
    """
    return lambda own: of_job(rule, wildcards(own))


def of_job(rule, values: Mapping) -> dict:
    """Return the identity of a rule's job. values: its wildcards."""
    wildcards = Wildcards(fromdict={name: str(value) for name, value in values.items()})
    recorded = {name: param for name, param in rule.params.items() if isinstance(param, Recorded)} if values else {}
    return {name: param(wildcards)[name] for name, param in recorded.items()}


def of_downloads(rules, inputs: Iterable, wildcards) -> dict[str, str]:
    """Return hashes of the identities of downloads, by name. inputs: their manifests, as in a rule's `input`."""
    found = {}
    for value in (one(wildcards) if callable(one) else one for one in inputs):
        for path in [value] if isinstance(value, str) else value:
            named = {key: name for key, name in MANIFEST.search(path.format(**wildcards)).groupdict().items() if name}
            rule = rules.download_model if "model" in named else rules.download_dataset
            found["/".join(named.values())] = fingerprints.digest(of_job(rule, named))
    return found


def evaluations(rules, task: Task) -> list[dict[str, dict]]:
    """Return the expected `made_by` of each run's metrics, by benchmark."""

    def made_by_benchmark(run: dict, benchmark: str) -> dict:
        rule = getattr(rules, task.evaluation.rule(benchmark))
        return made(rule, run | {"task": task.name, "benchmark": benchmark})

    return [
        {benchmark: made_by_benchmark(run, benchmark) for benchmark in task.evaluation.benchmarks(run)}
        for run in task.runs()
    ]


def made(rule, values: Mapping) -> dict:
    """Return the expected `made_by` of the metrics of a rule's job, see core/made_by.py. values: its wildcards."""
    return {"settings": of_job(rule, values)}


def expected(rule, run: dict) -> dict:
    """Add the other params of its training job's identity to what is expected of a run (tasks/expected_runs.py).

    rule: that of the job. run: the names of the run, and `asked` without these params.
    """
    identity = of_job(rule, {name: run[name] for name in made_by.RUN})
    others = {name: value for name, value in identity.items() if name not in ("hyperparameters", "processes")}
    return run | {"asked": others | run["asked"]}


def lost_inputs(workflow, output: str) -> Callable:
    """Return a param that changes once whenever an input of the finished file `output` has been deleted since.

    A missing input makes no job run. Afterwards the param keeps its value, so it repeats nothing. The time
    distinguishes a second deletion of the same file from the first. Inputs that the file was not made from are new.
    """

    def param(wildcards) -> list:
        record = workflow.persistence.metadata(IOFile(output.format(**wildcards)))
        if record and (lost := [path for path in record.input if not Path(path).exists()]):
            return [LOST, *lost, record.endtime]
        before = [text for text in (record.params if record else ()) if text.startswith(f"[{LOST!r}")]
        return ast.literal_eval(before[0]) if before else [LOST]

    return param


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
    """Return a choice of inputs that changes results only by rounding: `read` from a finished job's inputs, else `now`.

    Snakemake repeats a job whose inputs differ from the recorded ones. Its record is the only place that both the plan
    and the job's process, which finds the outputs deleted, can read. Snakemake itself compares with
    `persistence.input`, which works with any persistence backend. Failed jobs have a record too, but no output.
    """
    unfinished = workflow.is_main_process and not Path(output).exists()
    recorded = None if unfinished else workflow.persistence.input(IOFile(output))
    choice = None if recorded is None else read(recorded)
    return now() if choice is None else choice


def forget_unfinished(workflow) -> None:
    """Delete Snakemake's records of missing outputs before the first job: the jobs' processes would read them."""
    records = workflow.persistence
    for job in filter(workflow.dag.needrun, workflow.dag.jobs):
        for path in job.output:
            if not Path(path).exists() and records.metadata(path) is not None:
                records.cleanup_metadata(path)


def shards(workflow, merged: str, number: Callable[[], int]) -> list[str]:
    """Return `shard{i}-of-{n}` for every shard of a merged file. `number`: n for a file that does not exist."""

    def recorded(inputs: list[str]) -> int | None:
        found = re.search(r"\bshard0-of-(\d+)\.", " ".join(inputs))
        return int(found[1]) if found else None

    count = chosen(workflow, merged, recorded, number)
    return [f"shard{shard}-of-{count}" for shard in range(count)]


# Manifests of data


class Downloads:
    """The identity and input of the download rules. `tasks`: the tasks by name."""

    def __init__(self, config: dict, workflow, tasks: Mapping):
        self.config, self.workflow, self.tasks = config, workflow, tasks
        self.resources = config["pathvars"]["resources"]
        self.known: dict[str, dict] = {}  # by manifest: a retry of the job, which has deleted it, gets the same params

    def planned(self, wildcards) -> dict:
        named = dict(wildcards.items())
        manifest, source, dataset = self.entry(named)
        reads_results = not self.workflow.is_main_process or self.config.get("request")
        if manifest not in self.known and reads_results and Path(manifest).exists():
            # On a compute node, or to export a run, the user's files may be missing.
            self.known[manifest] = finished_downloads.planned_params(source, manifest)
        if manifest not in self.known:
            # A forced job uses the config's source: Snakemake deletes the manifest before it runs the job.
            settings = self.workflow.dag_settings  # known only after the Snakefile has been read
            forced = settings.forceall or any(rule.startswith("download") for rule in settings.forcerun)
            # If the outputs exist, Snakemake ignores exceptions of functions of wildcards.
            try:
                with ending_the_run():
                    user_files = local_files.paths(source, root := self.config["local_root"], dataset)
                    local_files.check_links(user_files, source, root, dataset, self.config["follow_links"])
                    planned = finished_downloads.planned_params(source, None if forced else manifest, user_files)
                    # Without a record, Snakemake compares no params, and uses another project's download.
                    if not forced and self.workflow.persistence.input(IOFile(manifest)) is None:
                        finished_downloads.check_shared(planned, dataset, manifest, user_files)
                    if "dataset" in named:
                        user_data.check(self.tasks[named["task"]], named["dataset"])
            except SystemExit:
                if self.config["preflight"] != "login":  # which lists it with all other problems
                    raise
                planned = finished_downloads.planned_params(source, None if forced else manifest)
            self.known[manifest] = planned
        return self.known[manifest]

    def entry(self, named: dict[str, str]) -> tuple[str, dict, dict | None]:
        """Return the manifest of a download, its source, and for a dataset the part of its entry that the job gets."""
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
        """Update links to the user's files, and their entries in manifests, before the first job.

        Both are outdated after the files have been moved, copied or touched. The manifests keep their times.
        """
        for manifest, download in self.known.items():
            if download.get("own"):
                finished_downloads.update_manifest(Path(manifest), download["paths"], download["own"])
