"""Hours of jobs on GPUs and CPUs: used by finished jobs, and estimated for the remaining ones."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from hra_workflow.core import wording
from hra_workflow.core.wording import listed, of_jobs
from hra_workflow.cost import estimates
from hra_workflow.cost.planned_jobs import Job


@dataclass
class Hours:
    """GPU- and CPU-hours used, and the remaining jobs with their estimates."""

    gpu: float = 0.0
    cpu: float = 0.0
    remaining: list[Job] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Return the remaining GPU-hours, without unknown jobs."""
        return sum(job.hours or 0.0 for job in self.remaining if job.gpus)

    def billed(self) -> list[Job]:
        """Return the remaining jobs on GPUs; those on CPUs if no job requests a GPU."""
        return [job for job in self.remaining if job.gpus] or self.remaining

    def by(self, key: Callable[[Job], str]) -> dict[str, float]:
        """Return hours per value of `key`, most hours first; only jobs with an estimate."""
        found: dict[str, float] = {}
        for job in self.billed():
            if job.hours is not None:
                found[key(job)] = found.get(key(job), 0.0) + job.hours
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def longest(self) -> tuple[float, str]:
        """Return the hours of the run whose stages take longest one after another, and its name, or an empty one."""
        walls: dict[str, dict[str, float]] = {}
        for job in (job for job in self.billed() if job.run):
            stages = walls.setdefault(job.run, {})
            stages[job.stage] = max(stages.get(job.stage, 0.0), job.wall)
        return max(((sum(stages.values()), run) for run, stages in walls.items()), default=(0.0, ""))

    def unknown(self, on_gpus: bool = False) -> str:
        """Name the jobs without an estimate; empty if there are none. on_gpus: only those that request a GPU."""
        found = [job for job in self.remaining if job.hours is None and (job.gpus or not on_gpus)]
        return f"no estimate for {of_jobs(len(found))}: {listed({job.rule: 0 for job in found}, 4)}" if found else ""

    def grounds(self) -> str:
        """Describe the estimate's basis: the hours per basis, and the jobs without an estimate."""
        bases = self.by(lambda job: job.basis)
        parts = [f"{wording.hours(hours)} {basis}" if len(bases) > 1 else basis for basis, hours in bases.items()]
        return "; ".join([*parts, *filter(None, [self.unknown()])])

    def __str__(self) -> str:
        """Describe the hours in one line, GPU-hours only if there are any; empty if nothing is known."""
        used, left = [], []
        for device, hours in {"GPU": self.gpu, "CPU": self.cpu}.items():
            found = [job.hours for job in self.remaining if (job.gpus > 0) == (device == "GPU")]
            known = [one for one in found if one is not None]
            if hours or found:
                used.append(wording.hours_of(hours, device))
            if found:
                left.append(f"about {wording.hours_of(sum(known), device)}" if known else f"unknown {device}-hours")
        text = [f"{' and '.join(used)} used"] * bool(used)
        if left:
            text.append(f"{' and '.join(left)} remaining ({self.grounds()})")
        elif used:
            text.append("none remaining")
        return ", ".join(text)


def add_up(done: Iterable[Job], left: Iterable[Job]) -> Hours:
    """Add up the hours of the finished jobs, which also estimate the remaining ones of the same kind."""
    measured = [(job, *estimates.measured(job)) for job in done]
    gpu, cpu = (sum(seconds for _, seconds, on_gpu in measured if on_gpu == device) for device in (True, False))
    total, finished = Hours(gpu / 3600, cpu / 3600), estimates.by_kind(measured)
    for job in left:
        if job.work == 0:
            continue
        if (seconds := estimates.by_records(job, finished)) is not None:
            job = replace(job, seconds=seconds, basis=estimates.MEASURED)
        if job.seconds is not None or job.work or job.gpus:
            total.remaining.append(job)
    return total
