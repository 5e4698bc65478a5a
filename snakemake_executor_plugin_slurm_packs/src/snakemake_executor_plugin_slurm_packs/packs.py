"""Packs, which are jobs that share a GPU as one Slurm job, and the requests to Slurm for single jobs and packs."""

import json
import logging
import os
import shlex
import uuid
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from pathlib import Path

from snakemake_executor_plugin_slurm import partitions
from snakemake_executor_plugin_slurm.accounts import validate_account
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

RESOURCE, STAGE = "jobs_per_gpu", "stage"
LOGGER = logging.getLogger(__name__)
ENDED, REPORTED = (
    ".ended",
    ".reported",
)  # files of a pack's job: its exit status; the same, recorded by Snakemake


def size(job) -> int:
    """Return the number of jobs like this one that share a GPU."""
    return 1 if job.is_group() else int(job.resources.get(RESOURCE, 1))


def shares_gpu(job) -> bool:
    # Resources may be functions of inputs that do not exist yet, so they are only evaluated for rules that pack.
    return not job.is_group() and RESOURCE in getattr(job.rule, "resources", ()) and size(job) > 1


def distribute(jobs: Iterable, replicate: Callable[[object], Hashable]) -> list[list]:
    """Distribute jobs over packs of one rule and size: first full packs of replicates, then the others, in order."""
    by_rule: dict[tuple, list] = {}
    for job in jobs:
        by_rule.setdefault((job.rule.name, size(job)), []).append(job)
    packs = []
    for (_, number), same in by_rule.items():
        groups: dict[Hashable, list] = {}
        for job in same:
            groups.setdefault(replicate(job), []).append(job)
        full, left = [], []
        for some in groups.values():
            whole = len(some) - len(some) % number
            full += chunks(some[:whole], number)
            left += some[whole:]
        packs += full + chunks(left, number)
    return packs


def request(job) -> tuple:
    """Return a key that is equal for the tasks of a job array: rule, threads, resources."""
    return job.name, job.threads, *sorted(map(str, job.resources.items()))


def chunks(jobs: list, number: int) -> list[list]:
    return [jobs[start : start + number] for start in range(0, len(jobs), number)]


class Submission:
    """Jobs that the base class submits as one Slurm job: the properties of the first one, with the resources of all.

    `folder`: the folder in which a pack of several jobs gets a subfolder. `array`: the script of the job array of which
    this is a task.
    """

    array: Path | None = None

    def __init__(self, jobs: list, settings, folder: Path):
        self.jobs, first = jobs, jobs[0]
        resources = dict(first.resources.items())
        if len(jobs) > 1:
            name = uuid.uuid4().hex[:12]
            self.folder = folder.absolute() / name
            self.name, self.wildcards = "pack", [str(len(jobs)), name]  # in squeue: rule_pack_wildcards_{number}_{name}
            self.threads = sum(job.threads for job in jobs)
            for name in {"mem_mb", "cpus_per_task", "cpus_per_gpu"} & set(resources):
                resources[name] = sum(job.resources[name] for job in jobs)
        resources |= of_stage(settings, resources.get(STAGE))
        gpu = resources.get("gpu")
        partition = (gpu and settings.gpu_partition) or settings.partition
        defaults = {"slurm_partition": partition, "gpu_model": gpu and settings.gpu_model}
        resources = {name: value for name, value in defaults.items() if value} | resources
        if gpu and settings.gres:
            named = ["gpu", resources.pop("gpu_model", None), str(resources.pop("gpu"))]
            resources["gres"] = ":".join(filter(None, named))
        self.resources = type(first.resources)(fromdict=resources)
        listed = settings.partition_config or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")
        if listed and "slurm_partition" not in resources:
            found = partitions.get_best_partition(read_partitions(Path(listed)), self, LOGGER)
            resources |= {"slurm_partition": found} if found else {}
            self.resources = type(first.resources)(fromdict=resources)

    def __getattr__(self, name: str):
        return getattr(self.jobs[0], name)

    def log_info(self) -> None:
        for job in self.jobs:
            job.log_info()

    def write(self, members: list[dict]) -> None:
        """Write the file that run_pack.py reads."""
        self.folder.mkdir(parents=True)
        (self.folder / "pack.json").write_text(json.dumps({"jobs": members}))

    def end_of(self, index: int) -> Path:
        return self.folder / f"{index}{ENDED}"


read_partitions = cache(partitions.read_partition_file)


def of_stage(settings, stage: str | None) -> dict[str, str]:
    """Return the resources of the setting `stages` for the jobs of a stage."""
    stated = (one.partition(":") for one in (settings.stages or "").split())
    return dict(resource.split("=", 1) for name, _, resource in stated if name == stage)


def options(submission: Submission, settings) -> str:
    """Return sbatch's options for a submission, except names and files, as in the base class's `run_job`.

    Raises the base class's errors: WorkflowError if it refuses the job, OSError if a command of Slurm is missing.
    """
    validate_slurm_extra(submission)
    account, partition = (submission.resources.get(f"slurm_{name}") for name in ("account", "partition"))
    if account:
        validate_account(str(account), LOGGER)
    partition = partition or partitions.get_default_partition(submission, LOGGER)
    params = {
        "account": f"-A {shlex.quote(str(account))}" if account else "",
        "partition": f"-p {shlex.quote(str(partition))}" if partition else "",
        **{"run_uuid": "", "slurm_logfile": "", "comment_str": "", "workdir": None},
    }
    call = get_submit_command(submission, params, settings) + set_gres_string(submission)
    return call.partition(" --comment '' ")[2].strip()
