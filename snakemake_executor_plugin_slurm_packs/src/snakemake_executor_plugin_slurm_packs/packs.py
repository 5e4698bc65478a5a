"""Packs: jobs that share a GPU as one Slurm job."""

import json
import uuid
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

RESOURCE = "jobs_per_gpu"
ENDED, REPORTED = ".ended", ".reported"  # of a job of a pack: its exit status; Snakemake has taken note of it


def size(job) -> int:
    """Return how many jobs like this one share a GPU."""
    return 1 if job.is_group() else int(job.resources.get(RESOURCE, 1))


def shares_gpu(job) -> bool:
    # Resources may be functions of inputs that do not exist yet: they are only evaluated of rules that pack.
    return not job.is_group() and RESOURCE in getattr(job.rule, "resources", ()) and size(job) > 1


def of(jobs: Iterable, replicate: Callable[[object], Hashable]) -> list[list]:
    """Distribute jobs over packs of one rule and size: full ones of replicates first, then of the others, in order."""
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


def request(submission: "Submission") -> tuple:
    """Return what the tasks of a job array have in common: rule, threads, resources."""
    return submission.name, submission.threads, *sorted(map(str, submission.resources.items()))


def chunks(jobs: list, number: int) -> list[list]:
    return [jobs[start : start + number] for start in range(0, len(jobs), number)]


class Submission:
    """What the base class submits as one Slurm job: the properties of the first job, with the resources of all.

    `folder`: where a pack of several jobs gets a folder of its own. `array`: the script of the job array of which this
    is a task.
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
        gpu = resources.get("gpu")
        partition = (gpu and settings.gpu_partition) or settings.partition
        defaults = {"slurm_partition": partition, "gpu_model": gpu and settings.gpu_model}
        resources = {name: value for name, value in defaults.items() if value} | resources
        if gpu and settings.gres:
            named = ["gpu", resources.pop("gpu_model", None), str(resources.pop("gpu"))]
            resources["gres"] = ":".join(filter(None, named))
        self.resources = type(first.resources)(fromdict=resources)

    def __getattr__(self, name: str):
        return getattr(self.jobs[0], name)

    def log_info(self, skip_dynamic: bool = False) -> None:
        for job in self.jobs:
            job.log_info(skip_dynamic)

    def write(self, members: list[dict]) -> None:
        """Write what run_pack.py reads."""
        self.folder.mkdir(parents=True)
        (self.folder / "pack.json").write_text(json.dumps({"jobs": members}))

    def end_of(self, index: int) -> Path:
        return self.folder / f"{index}{ENDED}"
