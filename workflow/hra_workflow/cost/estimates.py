"""Seconds of jobs, from finished or rehearsed jobs of the same kind, else from the config; and the sum in hours."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import files, grid
from hra_workflow.core.wording import hours_of, listed, plural
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.tasks import load as load_tasks
from hra_workflow.tasks import user_data
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.work import workload

MEASURED, PROBED = "measured by finished jobs", "measured by hra-workflow smoke"
CONFIGURED = "estimated from the config"
STARTUP_SECONDS = 60  # of a job, in addition to its rows: Python, libraries from a shared disk, the model on the GPU
CPU_STARTUP_SECONDS = 10  # without a GPU


def add_estimates(config: dict, jobs: Iterable[Job]) -> None:
    """Write their work, and the estimate of their seconds with its basis, to the planned jobs."""
    tasks = load_tasks(with_rows(config))
    rates: dict[str, list[dict]] = {PROBED: []}  # those of `hra-workflow smoke`, before those of other commands
    for rate in reported(config, tasks, "rates"):
        rates.setdefault(f"estimated by {rate['by']}" if "by" in rate else PROBED, []).append(rate)
    for job in jobs:
        job.work = work(tasks, job.rule, job.wildcards)
        found = {basis: by_rates(some, tasks, job) for basis, some in rates.items()}
        found |= {CONFIGURED: by_config(tasks, job) if job.gpus else None}
        job.basis, job.seconds = next(((basis, one) for basis, one in found.items() if one is not None), ("", None))


def task_of(tasks: dict[str, Task], rule: str, wildcards: dict) -> Task | None:
    """Return the task that a job belongs to; None for jobs shared by all tasks, such as a model's download."""
    owner = next((name for name, task in tasks.items() if rule in task.own_rules), None)
    return tasks.get(wildcards.get("task") or owner)


def work(tasks: dict[str, Task], rule: str, wildcards: dict) -> float | None:
    """Return the number of rows that pass a training step (forward and backward); 0: no rows; None: unknown."""
    task, stage = task_of(tasks, rule, wildcards), rule.partition("_")[0]
    if not task:
        return None
    if stage == "evaluate" and task.scored_in_training(wildcards):
        return 0.0
    if stage == "train" and not methods.get(task.config, wildcards["method"]).trains:
        return 0.0
    return task.work(stage, wildcards)


def startup(job: Job) -> float:
    """Return the device-seconds before a job's first row."""
    return STARTUP_SECONDS * job.gpus / job.runs_per_gpu if job.gpus else CPU_STARTUP_SECONDS


# Finished and rehearsed jobs


def by_kind(measured: Iterable[tuple[Job, float, bool]]) -> dict[tuple, list[tuple[float, float | None]]]:
    """Return seconds and work of finished jobs, by the keys of `likes`, without runs that have no steps.

    measured: the jobs, each with the result of the function `measured`.
    """
    found: dict[tuple, list] = {}
    for job, seconds, on_gpu in measured:
        for key in likes(job) if seconds and job.work != 0 else ():
            found.setdefault((on_gpu, *key), []).append((seconds, job.work))
    return found


def likes(job: Job) -> list[tuple]:
    """List keys of jobs with a similar throughput, most similar first: same run and data, same data, same rule."""
    data = job.wildcards.get("benchmark") or job.wildcards.get("dataset")
    run = job.wildcards.get("method"), job.wildcards.get("variant")
    return [(job.rule, data, *run), (job.rule, data), (job.rule,)]


def by_records(job: Job, finished: dict[tuple, list]) -> float | None:
    """Estimate seconds from the most similar jobs: time per unit of work × work; their mean if the work is unknown."""
    for key in likes(job):
        if found := finished.get((job.gpus > 0, *key)):
            seconds, amounts = zip(*found, strict=True)
            if job.work and all(amounts):
                return sum(seconds) / sum(amounts) * job.work
            return sum(seconds) / len(seconds)
    return None


def measured(job: Job) -> tuple[float, bool]:
    """Return the device-seconds of a finished job, and whether it used a GPU; one of n runs on a GPU gets 1/n."""
    if job.record and (record := files.read_if_valid(job.record)):
        alone = record["seconds"] * record.get("processes", 1)  # older records and evaluations have only this entry
        return record.get("device_seconds", alone), not record["device"].startswith("CPU")
    if job.benchmark and Path(job.benchmark).exists():
        return float(Path(job.benchmark).read_text().splitlines()[1].split()[0]) * max(1, job.gpus), job.gpus > 0
    return 0.0, False


def by_rates(rates: list[dict], tasks: dict[str, Task], job: Job) -> float | None:
    """Estimate seconds from the rate of the same kind of method, else from the mean of the task's other rates."""
    task = task_of(tasks, job.rule, job.wildcards)
    if not task or not job.work:
        return None
    same_device = [rate for rate in rates if rate["device"].startswith("CPU") != (job.gpus > 0)]
    alike = [rate for rate in same_device if (rate["task"], rate["stage"]) == (task.name, job.stage)]
    method = task.config["methods"].get(job.wildcards.get("method"))
    same = [rate for rate in alike if method and rate["kind"] == grid.kind_of(method)] or alike
    if not same:
        return None
    return job.work * sum(share(rate, job.runs_per_gpu) for rate in same) / len(same) + startup(job)


def share(rate: dict, runs: int) -> float:
    """Return the seconds of a shared GPU per row: those of the kernels, or a fraction of the host's time per row."""
    seconds = rate["seconds_per_row"]
    return max(rate.get("busy_per_row", seconds), seconds / runs)


# The config


def by_config(tasks: dict[str, Task], job: Job) -> float | None:
    """Estimate GPU-seconds from the config's `minutes` (per job) or `rows_per_second` (per GPU)."""
    task = task_of(tasks, job.rule, job.wildcards)
    resources = task.resources(job.rule, job.stage) if task else {}
    if resources.get("minutes"):
        return resources["minutes"] * 60 * job.gpus / job.runs_per_gpu
    if job.work and resources.get("rows_per_second"):
        return job.work / resources["rows_per_second"] + startup(job)
    return None


def reported(config: dict, tasks: dict[str, Task], entries: str) -> list[dict]:
    """Return the `rates` or `memory` of probes (results/preflight.json) with these models and settings.

    `hra-workflow smoke` measured those without `by`; the command that `by` names estimated the others.
    """
    saved = files.read_if_valid(Path(config["pathvars"]["results"], "preflight.json")).get(entries, [])
    known = [one for one in saved if one.get("task") in tasks and one.get("workload")]
    return [one for one in known if workload(tasks[one["task"]], one["run"]) == one["workload"]]


def with_rows(config: dict) -> dict:
    """Return the config with the known `rows`, stated or counted, in every dataset of a grid that has splits."""
    datasets = dict(config["datasets"])
    for task in load_tasks(config).values():
        used = {run["dataset"] for run in task.runs()}
        datasets[task.name] = task.datasets | {
            name: entry | {"rows": entry.get("rows") or user_data.rows(task, name)}
            for name, entry in task.datasets.items()
            if name in used and "splits" in entry
        }
    return config | {"datasets": datasets}


# Hours: used by finished jobs, and estimated for the remaining ones


@dataclass
class Hours:
    """GPU- and CPU-hours used, and the remaining jobs with their estimates."""

    gpu: float = 0.0
    cpu: float = 0.0
    remaining: list[Job] = field(default_factory=list)

    def by_stage(self) -> dict[str, float]:
        """Return the remaining GPU-hours per stage, most hours first; CPU-hours if no job requests a GPU."""
        billed, found = [job for job in self.remaining if job.gpus] or self.remaining, Counter()
        for job in billed:
            if job.hours is not None:
                found[job.stage] += job.hours
        return dict(found.most_common())

    def grounds(self) -> str:
        """Describe the basis of the estimate, and name the jobs without one."""
        unknown = [job.rule for job in self.remaining if job.hours is None]
        parts = list(dict.fromkeys(job.basis for job in self.remaining if job.hours is not None))
        if unknown:
            parts.append(f"no estimate for {plural(len(unknown), 'job')}: {listed(dict.fromkeys(unknown), 4)}")
        return "; ".join(parts)

    def __str__(self) -> str:
        """Describe the hours in one line, GPU-hours only if there are any; empty if nothing is known."""
        used, left = [], []
        for device, hours in {"GPU": self.gpu, "CPU": self.cpu}.items():
            found = [job.hours for job in self.remaining if (job.gpus > 0) == (device == "GPU")]
            known = [one for one in found if one is not None]
            if hours or found:
                used.append(hours_of(hours, device))
            if found:
                left.append(f"about {hours_of(sum(known), device)}" if known else f"unknown {device}-hours")
        text = [f"{' and '.join(used)} used"] * bool(used)
        if left:
            text.append(f"{' and '.join(left)} remaining ({self.grounds()})")
        elif used:
            text.append("none remaining")
        return ", ".join(text)


def estimate(jobs: Iterable[Job]) -> Hours:
    """Add up the hours of planned jobs."""
    every = list(jobs)
    return add_up(*([job for job in every if job.needed == needed] for needed in (False, True)))


def add_up(done: Iterable[Job], left: Iterable[Job]) -> Hours:
    """Add up the hours of the finished jobs, which also estimate the remaining ones of the same kind."""
    spent = [(job, *measured(job)) for job in done]
    gpu, cpu = (sum(seconds for _, seconds, on_gpu in spent if on_gpu == device) for device in (True, False))
    total, finished = Hours(gpu / 3600, cpu / 3600), by_kind(spent)
    for job in left:
        if job.work == 0:
            continue
        if (seconds := by_records(job, finished)) is not None:
            job = replace(job, seconds=seconds, basis=MEASURED)
        if job.seconds is not None or job.work or job.gpus:
            total.remaining.append(job)
    return total
