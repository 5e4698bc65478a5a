"""Hours of jobs on GPUs and CPUs: used by finished jobs, and estimated for the remaining ones."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hra_workflow.core.wording import hours_of, listed, plural
from hra_workflow.cost import estimates
from hra_workflow.cost.planned_jobs import Job


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
