"""GPU-hours: used by finished jobs, and estimated for the remaining ones from records or else from the config."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.core import files
from common.core.errors import JobError
from common.planning.planned_jobs import Job
from common.tasks.base import Task


@dataclass
class Hours:
    """GPU- and CPU-hours used, GPU-hours remaining, and the number of jobs per basis of the estimate."""

    gpu: float = 0.0
    cpu: float = 0.0
    left: float = 0.0
    by_records: int = 0
    by_preflight: int = 0
    by_config: int = 0
    unknown: int = 0

    def __str__(self) -> str:
        cpu = f" and {self.cpu:.3g} CPU-hours" if self.cpu else ""
        grounds = {
            "estimated from records": self.by_records,
            "estimated from rates measured by make preflight": self.by_preflight,
            "estimated from the config": self.by_config,
            "without an estimate": self.unknown,
        }
        listed = ", ".join(f"{count} jobs {what}" for what, count in grounds.items() if count)
        amount = f"about {self.left:.3g}" if self.by_records or self.by_preflight or self.by_config else "unknown"
        left = f"{amount} GPU-hours remaining ({listed})" if listed else "no GPU-hours remaining"
        return f"{self.gpu:.3g} GPU-hours{cpu} used, {left}"


def hours(done: Iterable[Job], left: Iterable[Job]) -> Hours:
    """Add up the hours of the finished jobs and estimate those of the remaining ones."""
    total, rates = Hours(), {}
    for job in done:
        seconds, on_gpu = measured(job)
        total.gpu += seconds / 3600 * on_gpu
        total.cpu += seconds / 3600 * (not on_gpu)
        for key in likes(job) if seconds and on_gpu else ():
            rates.setdefault(key, []).append((seconds, job.work))
    for job in left:
        total.gpu += lost(job) / 3600 * (job.gpus > 0)
        if not job.gpus or job.work == 0:
            continue
        seconds = by_records(job, rates)
        total.by_records += seconds is not None
        if seconds is None:
            seconds = job.measured
            total.by_preflight += seconds is not None
        if seconds is None:
            seconds = job.stated
            total.by_config += seconds is not None
        total.unknown += seconds is None
        total.left += (seconds or 0) / 3600
    return total


def likes(job: Job) -> list[tuple]:
    """List keys of jobs with a similar throughput, most similar first: same run and data, same data, same rule."""
    data = job.wildcards.get("benchmark") or job.wildcards.get("dataset")
    return [(job.rule, data, job.wildcards.get("method"), job.wildcards.get("variant")), (job.rule, data), (job.rule,)]


def by_records(job: Job, rates: dict[tuple, list]) -> float | None:
    """Estimate GPU-seconds from the most similar jobs: time per unit of work × work, or their mean if it is unknown."""
    for key in likes(job):
        if key in rates:
            seconds, amounts = zip(*rates[key], strict=True)
            if job.work and all(amounts):
                return sum(seconds) / sum(amounts) * job.work
            return sum(seconds) / len(seconds)
    return None


def measured(job: Job) -> tuple[float, bool]:
    """Return seconds × processes of a finished job, and whether it used a GPU."""
    if job.record and (record := read(job.record)):
        return record["seconds"] * record.get("processes", 1), not record["device"].startswith("CPU")
    if job.benchmark and Path(job.benchmark).exists():
        return float(Path(job.benchmark).read_text().splitlines()[1].split()[0]) * max(1, job.gpus), job.gpus > 0
    return 0.0, False


def lost(job: Job) -> float:
    """Return seconds × processes of the attempts of an unfinished training run."""
    if job.stage != "train" or not job.error:
        return 0.0
    return sum(read(Path(job.error).with_name("attempts.json")).get("seconds", [])) * max(1, job.gpus)


def read(path: str | Path) -> dict:
    """Read a record, or return {} if it is missing or invalid: the job that needs it reports the error."""
    try:
        return files.read_json(path)
    except (FileNotFoundError, JobError):
        return {}


def work(tasks: dict[str, Task], rule: str, wildcards: dict) -> float | None:
    """Return the number of rows that go through a training step (forward and backward); 0: none; None: unknown."""
    task, stage = task_of(tasks, rule, wildcards), rule.partition("_")[0]
    if not task:
        return None
    if stage == "train" and not task.trains(f"{wildcards['method']}/{wildcards['variant']}"):
        return 0.0
    return task.work(stage, wildcards)


def trial_rates(config: dict) -> list[dict]:
    """Return the rates that `make preflight` has measured on GPUs."""
    found = read(Path(config["pathvars"]["results"], "preflight.json")).get("rates", ())
    return [one for one in found if not one["device"].startswith("CPU")]


def by_preflight(rates: list[dict], tasks: dict[str, Task], job: Job) -> float | None:
    """Estimate GPU-seconds from a measured rate: of the same kind of method, else the mean of the task's others."""
    task = task_of(tasks, job.rule, job.wildcards)
    if not task or not job.work:
        return None
    alike = [one for one in rates if (one["task"], one["stage"]) == (task.name, job.stage)]
    kind = task.config["methods"].get(job.wildcards.get("method"), {}).get("kind")
    same = [one for one in alike if one["kind"] == kind] or alike
    return job.work * sum(one["seconds_per_row"] for one in same) / len(same) if same else None


def stated(tasks: dict[str, Task], job: Job) -> float | None:
    """Estimate GPU-seconds from the config's `minutes` (per job) or `rows_per_second` (per GPU)."""
    task = task_of(tasks, job.rule, job.wildcards)
    resources = task.resources(job.rule, job.stage) if task else {}
    if resources.get("minutes"):
        return resources["minutes"] * 60 * job.gpus
    return job.work / resources["rows_per_second"] if job.work and resources.get("rows_per_second") else None


def task_of(tasks: dict[str, Task], rule: str, wildcards: dict) -> Task | None:
    """Return the task that a job belongs to; None for jobs shared by all tasks, such as a model's download."""
    owner = next((name for name, task in tasks.items() if rule in task.own_rules), None)
    return tasks.get(wildcards.get("task") or owner)
