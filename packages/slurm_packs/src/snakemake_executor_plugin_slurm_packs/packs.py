"""Packs, which are several jobs as one Slurm job, and the requests to Slurm for single jobs and packs."""

import contextlib
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
from snakemake_interface_common.exceptions import WorkflowError

AT_ONCE, IN_SERIES, STAGE, GPU_MEMORY = "jobs_per_gpu", "jobs_per_allocation", "stage", "gpu_mem_mb"
LOGGER = logging.getLogger(__name__)
ENDED, REPORTED = (
    ".ended",
    ".reported",
)  # files of a pack's job: its exit status; the same, recorded by Snakemake
WITH_UNIT = {"mem", "disk"}  # texts that Snakemake derives from mem_mb and disk_mb
UNKNOWN = "<TBD>"  # Snakemake's value of a resource that depends on a file which does not exist yet


def check(job) -> None:
    """Raise WorkflowError if the resources of a job cannot form a pack."""
    if in_series(job):
        if getattr(job, "group", None):
            raise refused(job, f"{IN_SERIES} has no effect in a group, which is one Slurm job. Remove one of the two")
        runtime(job)


def size(job) -> int:
    """Return the maximum number of jobs like this one in a Slurm job. Raises WorkflowError if it is invalid."""
    if job.is_group():
        return 1
    numbers = [number(job, name) for name in (AT_ONCE, IN_SERIES)]
    if min(numbers) > 1:
        raise refused(job, f"{AT_ONCE} and {IN_SERIES} exclude each other. Set one of them to 1")
    if max(numbers) > 1 and job.resources.get("mpi"):
        raise refused(job, "an MPI job cannot be part of a pack. Remove the resource mpi or the one for packs")
    return max(numbers)


def number(job, name: str) -> int:
    value = str(job.resources.get(name, 1))
    if value == UNKNOWN:
        return 1
    if not value.isdecimal() or int(value) < 1:
        raise refused(job, f"{name}: expected a whole number of at least 1, found {value}")
    return int(value)


def refused(job, reason: str) -> WorkflowError:
    return WorkflowError(f"Rule {job.rule.name}: {reason}.")


def is_packed(job) -> bool:
    # Resources may be functions of inputs that do not exist yet, so they are only evaluated for rules that pack.
    stated = () if job.is_group() else getattr(job.rule, "resources", ())
    return (AT_ONCE in stated or IN_SERIES in stated) and size(job) > 1


def in_series(job) -> bool:
    """Return whether a job is packed with others that run one after the other."""
    return is_packed(job) and number(job, IN_SERIES) > 1


def runtime(job) -> int:
    """Return the minutes of a job in series. Raises WorkflowError if they are missing: their sum is the pack's."""
    minutes = job.resources.get("runtime")
    if str(minutes) == UNKNOWN:
        return 1
    if not minutes:
        raise refused(job, f"{IN_SERIES} needs the resource runtime, since the time of a pack is that of all its jobs")
    return int(minutes)


def cpus(job) -> int:
    """Return the cores of a job in a pack, as the base class requests them; 0: the site's default."""
    found = job.resources.get
    by_gpu = (found("gpu") or 0) * (found("cpus_per_gpu") or 0)
    return max(found("cpus_per_task") or by_gpu or job.threads, 0)


def distribute(jobs: Iterable, replicate: Callable[[object], Hashable], minutes: int | None = None) -> list[list]:
    """Distribute jobs over packs of equal kind: on a GPU, first full packs of replicates, then the others, in order.

    `minutes`: the maximum sum of runtimes of a pack in series.
    """
    packs = []
    for same in by_key(jobs, kind):
        left = []
        for replicates in [same] if in_series(same[0]) else by_key(same, replicate):
            for pack in cut(replicates, minutes):
                if is_full(pack, minutes):
                    packs.append(pack)
                else:
                    left += pack
        packs += cut(left, minutes)
    return packs


def kind(job) -> tuple:
    """Return a key that is equal for jobs of which one Slurm job can be made: numbers in their requests may differ."""
    texts = {name: value for name, value in job.resources.items() if not isinstance(value, int)}
    others = sorted(f"{name}={value}" for name, value in texts.items() if name not in WITH_UNIT)
    return job.rule.name, size(job), in_series(job), *others


def by_key(jobs: Iterable, key: Callable[[object], Hashable]) -> Iterable[list]:
    groups: dict[Hashable, list] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return groups.values()


def cut(jobs: list, minutes: int | None) -> list[list]:
    """Cut jobs of one kind into packs, in order."""
    packs: list[list] = []
    for job in jobs:
        if packs and fit([*packs[-1], job], minutes):
            packs[-1].append(job)
        else:
            packs.append([job])
    return packs


def fit(jobs: list, minutes: int | None) -> bool:
    late = minutes and in_series(jobs[0]) and sum(map(runtime, jobs)) > minutes
    return len(jobs) <= size(jobs[0]) and not late


def is_full(pack: list, minutes: int | None) -> bool:
    return not fit([*pack, pack[-1]], minutes)


def full(job, minutes: int | None) -> list:
    """Return a full pack of jobs like this one; [job] if it is not packed."""
    return cut([job] * size(job), minutes)[0]


def request(job) -> tuple:
    """Return a key that is equal for the tasks of a job array: rule, threads, resources."""
    return job.name, job.threads, *sorted(map(str, job.resources.items()))


def chunks(jobs: list, number: int) -> list[list]:
    return [jobs[start : start + number] for start in range(0, len(jobs), number)]


class Submission:
    """Jobs that the base class submits as one Slurm job: the properties of the first one, with the resources of all.

    Jobs that run `at_once` need the sum of cores and memory, jobs in series the largest of each and the sum of times.

    `folder`: the folder in which a pack of several jobs gets a subfolder. `array`: the script of the job array of which
    this is a task. `pauses`: seconds until it is submitted again each time sbatch fails: the controller may be
    restarting, or its disk full.
    """

    array: Path | None = None
    at_once = 1
    pauses = (5, 20, 60)

    def __init__(self, jobs: list, settings, folder: Path):
        self.jobs, first = jobs, jobs[0]
        resources = dict(first.resources.items())
        if len(jobs) > 1:
            name = uuid.uuid4().hex[:12]
            self.folder = folder.absolute() / name
            self.name, self.wildcards = "pack", [str(len(jobs)), name]  # in squeue: rule_pack_wildcards_{number}_{name}
            series = in_series(first)
            self.at_once = 1 if series else len(jobs)
            self.threads = (max if series else sum)(job.threads for job in jobs)
            summed = {"runtime"} if series else {"mem_mb", "cpus_per_task", "cpus_per_gpu"}
            for name in {name for job in jobs for name, value in job.resources.items() if isinstance(value, int)}:
                resources[name] = (sum if name in summed else max)(job.resources.get(name) or 0 for job in jobs)
        gpu = resources.get("gpu")
        partition = (gpu and settings.gpu_partition) or settings.partition
        defaults = {"slurm_partition": partition, "gpu_model": gpu and settings.gpu_model}
        resources = {name: value for name, value in defaults.items() if value} | resources
        resources |= of_stage(settings, resources.get(STAGE))
        resources.pop(GPU_MEMORY, None)
        if not gpu:
            resources.pop("gpu_model", None)
        elif "gpu_model" not in resources and (models := settings.memory_of_models()):
            resources["gpu_model"] = smallest(models, jobs, self.at_once)
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
        self.folder.mkdir(parents=True, exist_ok=True)  # if it is submitted again
        (self.folder / "pack.json").write_text(json.dumps({"jobs": members, "at_once": self.at_once}))

    def end_of(self, index: int) -> Path:
        return self.folder / f"{index}{ENDED}"


def exit_status(aux: dict | None) -> int | None:
    """Return the exit status of an ended, unreported job of a pack; None for any other job. `aux`: what is known of it.

    The renamed file prevents a requeued pack from running the job again.
    """
    if not (aux and "end" in aux):
        return None
    ended = Path(aux["end"])
    with contextlib.suppress(FileNotFoundError):
        list(ended.parent.iterdir())  # NFS caches that a file is missing
        ended.rename(reported := ended.with_suffix(REPORTED))
        return int(reported.read_text())
    return None


read_partitions = cache(partitions.read_partition_file)


def smallest(models: dict[str, int], jobs: list, at_once: int) -> str:
    """Return the model with the least memory (MB) for a pack; if the need of a job is unknown, the largest model.

    Raises WorkflowError if no model has enough.
    """
    needs, largest = sorted(job.resources.get(GPU_MEMORY) or 0 for job in jobs), max(models, key=models.get)
    if not all(needs):
        return largest
    need = sum(needs[-at_once:])
    if fits := [model for model in models if models[model] >= need]:
        return min(fits, key=models.get)
    raise WorkflowError(
        f"Rule {jobs[0].rule.name}: {at_once} job(s) on a GPU need {need} MB ({GPU_MEMORY}), and the largest model of "
        f"slurm-packs-gpu-models, {largest}, has {models[largest]}. Lower {AT_ONCE} or the memory of the rule's jobs, "
        "or add a larger model."
    )


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
