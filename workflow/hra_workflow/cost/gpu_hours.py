"""GPU-hours: used by finished jobs, and estimated for the remaining ones from records or else from the config."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import files, gpus, grid, wording
from hra_workflow.core.wording import listed, of_jobs, plural, span
from hra_workflow.cost import cpu_time, finished_jobs, planned_jobs, probed, row_counts
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.tasks import load as load_tasks
from hra_workflow.tasks.base import Task

MEASURED, PROBED, CONFIGURED = (
    "measured by finished jobs",
    "measured by hra-workflow smoke",
    "estimated from the config",
)
EARLIER = "measured by earlier jobs with the same model"
GUESSED = "guessed from the size of the model until a job has finished or `hra-workflow smoke` has measured one"
PROBED_ALONE = "at most, measured by hra-workflow smoke on a run that did not share its GPU"
WITHIN_ITEM = ("task", "seed", "shard", "n_shards")  # the seeds and shards of a run are one item


@dataclass
class Estimate:
    """Hours of a remaining job: on GPUs if it requests any, else on CPUs; None: unknown. basis: where they are from.

    bounds: the least and the most hours; empty: unknown.
    """

    job: Job
    hours: float | None
    basis: str = ""
    bounds: tuple[float, ...] = ()

    @property
    def wall(self) -> float:
        """Return the hours from the job's start to its end; 0: unknown."""
        return (self.hours or 0) * self.job.runs_per_gpu / max(1, self.job.gpus)


@dataclass
class Hours:
    """GPU- and CPU-hours used, and the estimates of the remaining jobs.

    short: remaining jobs that process no rows, such as those of tables, if no job requests a GPU; else 0.
    """

    gpu: float = 0.0
    cpu: float = 0.0
    short: int = 0
    estimates: list[Estimate] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Return the remaining GPU-hours, without unknown jobs."""
        return sum(one.hours or 0.0 for one in self.estimates if one.job.gpus)

    def billed(self) -> list[Estimate]:
        """Return the estimates on GPUs; those on CPUs if no job requests a GPU."""
        return [one for one in self.estimates if one.job.gpus] or self.estimates

    def by(self, key: Callable[[Estimate], str]) -> dict[str, tuple[float, int]]:
        """Return hours and number of jobs per value of `key`, most hours first; only jobs with an estimate."""
        found: dict[str, tuple[float, int]] = {}
        for one in self.billed():
            if one.hours is not None:
                hours, count = found.get(key(one), (0.0, 0))
                found[key(one)] = hours + one.hours, count + 1
        return dict(sorted(found.items(), key=lambda entry: -entry[1][0]))

    def dearest(self) -> str:
        """Name the three items with the most hours; the seeds and shards of a run are one item."""
        found = list(self.by(lambda one: item(one.job)).items())[:3]
        return ", ".join(f"{name} {wording.hours(hours)} ({of_jobs(count)})" for name, (hours, count) in found)

    def longest(self) -> tuple[float, str]:
        """Return the hours of the run whose stages take longest one after another, and its name, or an empty one."""
        walls: dict[str, dict[str, float]] = {}
        for one in (one for one in self.billed() if one.job.run):
            stages, stage = walls.setdefault(one.job.run, {}), one.job.stage
            stages[stage] = max(stages.get(stage, 0.0), one.wall)
        return max(((sum(stages.values()), run) for run, stages in walls.items()), default=(0.0, ""))

    def price(self, price: dict | None) -> str:
        """Describe the price of all GPU-hours; empty without GPU-hours or without the config's `price`."""
        if not price or not (self.gpu or self.left):
            return ""
        used, left = (wording.number(price["gpu_hour"] * hours) for hours in (self.gpu, self.left))
        unknown = self.unknown(on_gpus=True)
        text = f"about {used} {price['currency']} used, {left} {price['currency']} remaining"
        return f"{text} ({price['gpu_hour']:g} per GPU-hour{f'; {unknown}' if unknown else ''})"

    def unknown(self, on_gpus: bool = False) -> str:
        """Name the jobs without an estimate; empty if there are none. on_gpus: only those that request a GPU."""
        found = [one.job for one in self.estimates if one.hours is None and (one.job.gpus or not on_gpus)]
        rules = dict.fromkeys(job.rule for job in found)
        return f"no estimate for {of_jobs(len(found))}: {listed(rules, 4)}" if found else ""

    def grounds(self) -> str:
        """Describe the estimate's basis: the hours per basis, and the jobs without an estimate."""
        bases = self.by(lambda one: one.basis)
        parts = [f"{wording.hours(hours)} {basis}" if len(bases) > 1 else basis for basis, (hours, _) in bases.items()]
        starts = f"{plural(self.short, 'short job')} of about {cpu_time.LIKELY_STARTUP} s each" * bool(self.short)
        return "; ".join([*parts, *filter(None, [starts, self.unknown()])])

    def __str__(self) -> str:
        """Describe the hours in one line, GPU-hours only if there are any; empty if nothing is known."""
        used, left = [], []
        for device, hours in {"GPU": self.gpu, "CPU": self.cpu}.items():
            estimates = [one for one in self.estimates if (one.job.gpus > 0) == (device == "GPU")]
            short = self.short * (device == "CPU")
            if hours or estimates or short:
                used.append(wording.hours_of(hours, device))
            if estimates or short:
                left.append(remaining(estimates, device, short))
        text = [f"{' and '.join(used)} used"] * bool(used)
        if left:
            text.append(f"{' and '.join(left)} remaining ({self.grounds()})")
        elif used:
            text.append("none remaining")
        return ", ".join(text)


def remaining(estimates: list[Estimate], device: str, short: int) -> str:
    """Describe the hours of jobs on one kind of device, with their range if every estimate has one."""
    known = [one for one in estimates if one.hours is not None]
    if not known and not short:
        return f"unknown {device}-hours"
    likely = sum(one.hours for one in known) + short * cpu_time.LIKELY_STARTUP / 3600
    text = f"about {wording.hours_of(float(f'{likely:.2g}') if short else likely, device)}"
    if not all(one.bounds for one in known):
        return text
    ends = zip(cpu_time.STARTUP, *(one.bounds for one in known), strict=True)
    low, high = (short * start + 3600 * sum(hours) for start, *hours in ends)
    return f"{text} ({span(low, high)})" if high > 1.1 * low else text


def item(job: Job) -> str:
    return " ".join(
        [job.rule, "/".join(value for name, value in job.wildcards.items() if name not in WITHIN_ITEM)]
    ).strip()


def hours(done: Iterable[Job], left: Iterable[Job]) -> Hours:
    """Add up the hours of the finished jobs and estimate those of the remaining ones."""
    total, done, left = Hours(), list(done), list(left)
    for job in done:
        seconds, on_gpu = finished_jobs.measured(job)
        total.gpu += seconds / 3600 * on_gpu
        total.cpu += seconds / 3600 * (not on_gpu)
    rates = finished_jobs.rates_of(done)
    if not any(job.gpus for job in left):
        total.short = sum(not job.work for job in left)
    for job in left:
        total.gpu += lost(job) / 3600 * (job.gpus > 0)
        found = Estimate(job, None) if job.work == 0 else estimate(job, rates)
        if found.hours is not None or job.work or (job.gpus and job.work is None):
            total.estimates.append(found)
    return total


def estimate(job: Job, rates: dict[tuple, list]) -> Estimate:
    """Estimate a job on all of its processes. Measured values outrank estimates, and estimates outrank guesses."""
    tried = PROBED if job.runs_per_gpu == 1 else PROBED_ALONE
    found = {
        MEASURED: finished_jobs.by_records(job, rates),
        EARLIER: job.earlier,
        tried: job.measured,
        **job.estimated,
        CONFIGURED: job.stated if job.gpus else None,
        GUESSED: job.guessed,
    }
    for basis, seconds in found.items():
        if seconds is not None:
            likely, *bounds = (one / 3600 for one in (seconds if isinstance(seconds, list) else [seconds]))
            return Estimate(job, likely, basis, tuple(bounds))
    return Estimate(job, None)


def lost(job: Job) -> float:
    """Return the device-seconds of the attempts of an unfinished training run."""
    if job.stage != "train" or not job.error:
        return 0.0
    attempts = Path(job.error).with_name("attempts.json")
    return gpus.device_seconds(files.read_if_valid(attempts)) * max(1, job.gpus)


def work(tasks: dict[str, Task], rule: str, wildcards: dict) -> float | None:
    """Return the number of rows that pass a training step (forward and backward); 0: no rows; None: unknown."""
    task, stage = task_of(tasks, rule, wildcards), rule.partition("_")[0]
    if not task:
        return None
    if stage == "evaluate" and task.evaluation.in_training(wildcards):
        return 0.0
    if stage == "train" and not methods.get(task.config, wildcards["method"]).trains:
        return 0.0
    return task.cost.work(stage, wildcards)


def add_estimates(config: dict, jobs: Iterable[Job]) -> None:
    """Write the estimates of their work and seconds to the planned jobs."""
    every, jobs = load_tasks(row_counts.complete(config)), list(jobs)
    rates = probed.reported(config, every, "rates")
    measured = [rate for rate in rates if rate["part"] == "jobs"]
    commands = dict.fromkeys(rate["by"] for rate in rates if "by" in rate)
    estimated = {f"estimated by {one}": [rate for rate in rates if rate.get("by") == one] for one in commands}
    for job in jobs:
        task = task_of(every, job.rule, job.wildcards)
        job.model = (task and task.settings.get("model")) or ""
        job.work = work(every, job.rule, job.wildcards)
    needed = {(job.rule, job.model) for job in jobs if job.needed and job.work}
    earlier = finished_jobs.rates_of(job for job in planned_jobs.every() if (job.rule, job.model) in needed)
    for job in jobs:
        job.earlier = finished_jobs.by_records(job, earlier) if job.work else None
        job.measured = by_rates(measured, every, job)
        job.estimated = {basis: by_rates(of_basis, every, job) for basis, of_basis in estimated.items()}
        job.stated = by_config(every, job)
        job.guessed = cpu_time.guess(config, task_of(every, job.rule, job.wildcards), job)


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
    return job.work * sum(share(rate, job.runs_per_gpu) for rate in same) / len(same) + finished_jobs.startup(job)


def share(rate: dict, runs: int) -> float:
    """Return the seconds of a shared GPU per row: those of the kernels, or a fraction of the host's time per row."""
    seconds = rate["seconds_per_row"]
    return max(rate.get("busy_per_row", seconds), seconds / runs)


def by_config(tasks: dict[str, Task], job: Job) -> float | None:
    """Estimate GPU-seconds from the config's `minutes` (per job) or `rows_per_second` (per GPU)."""
    task = task_of(tasks, job.rule, job.wildcards)
    resources = task.cost.resources(job.rule, job.stage) if task else {}
    if resources.get("minutes"):
        return resources["minutes"] * 60 * job.gpus / job.runs_per_gpu
    if job.work and resources.get("rows_per_second"):
        return job.work / resources["rows_per_second"] + finished_jobs.startup(job)
    return None


def task_of(tasks: dict[str, Task], rule: str, wildcards: dict) -> Task | None:
    """Return the task that a job belongs to; None for jobs shared by all tasks, such as a model's download."""
    owner = next((name for name, task in tasks.items() if rule in task.cost.own_rules), None)
    return tasks.get(wildcards.get("task") or owner)
