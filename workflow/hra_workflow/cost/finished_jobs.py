"""The throughput of finished jobs, from their records, which estimates similar jobs."""

from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.cost import cpu_time
from hra_workflow.cost.planned_jobs import Job

STARTUP_SECONDS = 60  # of a job, in addition to its rows: Python, libraries from a shared disk, the model on the GPU


def rates_of(done: Iterable[Job]) -> dict[tuple, list[tuple[float, float | None]]]:
    """Return seconds and work of these finished jobs, by the keys of `likes`, without runs that have no steps."""
    rates: dict[tuple, list] = {}
    for job in done:
        seconds, on_gpu = measured(job)
        for key in likes(job) if seconds and job.work != 0 else ():
            rates.setdefault((on_gpu, *key), []).append((seconds, job.work))
    return rates


def likes(job: Job) -> list[tuple]:
    """List keys of jobs with a similar throughput, most similar first: same run and data, same data, same rule."""
    data = job.wildcards.get("benchmark") or job.wildcards.get("dataset")
    run = job.wildcards.get("method"), job.wildcards.get("variant")
    return [(job.rule, job.model, *more) for more in ((data, *run), (data,), ())]


def by_records(job: Job, rates: dict[tuple, list]) -> list[float] | None:
    """Estimate seconds, their minimum and their maximum, from the most similar jobs.

    The estimate is time per unit of work × work. The bounds consider that the start of a job does not grow with its
    work. If the work is unknown, the estimate is the mean of the jobs.
    """
    for key in likes(job):
        if found := rates.get((job.gpus > 0, *key)):
            seconds, amounts = zip(*found, strict=True)
            if not (job.work and all(amounts)):
                return [sum(seconds) / len(seconds), min(seconds), max(seconds)]
            fixed = [min(startup(job), one) for one in seconds]
            ratios = [job.work / amount for amount in amounts]
            bounds = [one * ratio for one, ratio in zip(seconds, ratios, strict=True)]
            bounds += [start + (one - start) * ratio for one, start, ratio in zip(seconds, fixed, ratios, strict=True)]
            return [sum(seconds) / sum(amounts) * job.work, min(bounds), max(bounds)]
    return None


def measured(job: Job) -> tuple[float, bool]:
    """Return the device-seconds of a finished job, and whether it used a GPU; one of n runs on a GPU gets 1/n."""
    if job.record and (record := files.read_if_valid(job.record)):
        alone = record["seconds"] * record.get("processes", 1)  # older records and evaluations have only this entry
        return record.get("device_seconds", alone), not record["device"].startswith("CPU")
    if job.benchmark and Path(job.benchmark).exists():
        return float(Path(job.benchmark).read_text().splitlines()[1].split()[0]) * max(1, job.gpus), job.gpus > 0
    return 0.0, False


def startup(job: Job) -> float:
    """Return the device-seconds before a job's first row."""
    return STARTUP_SECONDS * job.gpus / job.runs_per_gpu if job.gpus else cpu_time.LIKELY_STARTUP
