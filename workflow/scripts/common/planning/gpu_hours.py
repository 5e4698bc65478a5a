"""GPU-hours: what the finished jobs took, and what the others may take, by the records or else by the config."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import methods
from common.core import files, grid
from common.core.errors import JobError
from common.planning import expected_runs
from common.planning.planned_jobs import Job
from common.tasks.subject import task as subjects

FORWARD = 1 / 3  # of a training step: the backward pass costs twice the forward one


@dataclass
class Hours:
    """GPU- and CPU-hours so far, GPU-hours to go, and by what these are judged: the number of jobs."""

    gpu: float = 0.0
    cpu: float = 0.0
    left: float = 0.0
    by_records: int = 0
    by_config: int = 0
    unknown: int = 0

    def __str__(self) -> str:
        cpu = f" and {self.cpu:.3g} CPU-hours" if self.cpu else ""
        grounds = {"by records": self.by_records, "by the config": self.by_config, "without an estimate": self.unknown}
        listed = ", ".join(f"{count} jobs {what}" for what, count in grounds.items() if count)
        amount = f"about {self.left:.3g}" if self.by_records or self.by_config else "unknown"
        left = f"{amount} GPU-hours to go ({listed})" if listed else "none to go on GPUs"
        return f"{self.gpu:.3g} GPU-hours{cpu} so far, {left}"


def hours(done: Iterable[Job], left: Iterable[Job]) -> Hours:
    """Of the finished jobs, and of those to come."""
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
            seconds = job.stated
            total.by_config += seconds is not None
        total.unknown += seconds is None
        total.left += (seconds or 0) / 3600
    return total


def likes(job: Job) -> list[tuple]:
    """Jobs of which this one may be like in rate, the most alike first: same run and data, same data, same rule."""
    data = job.wildcards.get("benchmark") or job.wildcards.get("dataset")
    return [(job.rule, data, job.wildcards.get("method"), job.wildcards.get("variant")), (job.rule, data), (job.rule,)]


def by_records(job: Job, rates: dict[tuple, list]) -> float | None:
    """GPU-seconds: those of a unit of work of the most alike jobs × its own; their mean where the work is unknown."""
    for key in likes(job):
        if key in rates:
            seconds, amounts = zip(*rates[key], strict=True)
            if job.work and all(amounts):
                return sum(seconds) / sum(amounts) * job.work
            return sum(seconds) / len(seconds)
    return None


def measured(job: Job) -> tuple[float, bool]:
    """Seconds × processes of a finished job, and whether they are a GPU's."""
    if job.record and (record := read(job.record)):
        return record["seconds"] * record.get("processes", 1), not record["device"].startswith("CPU")
    if job.benchmark and Path(job.benchmark).exists():
        return float(Path(job.benchmark).read_text().splitlines()[1].split()[0]) * max(1, job.gpus), job.gpus > 0
    return 0.0, False


def lost(job: Job) -> float:
    """Seconds × processes of the attempts of a training that has not come to its end."""
    if job.stage != "train" or not job.error:
        return 0.0
    return sum(read(Path(job.error).with_name("attempts.json")).get("seconds", [])) * max(1, job.gpus)


def read(path: str | Path) -> dict:
    """A record, or {} where it is not there or not whole: what uses it for a table complains in its time."""
    try:
        return files.read_json(path)
    except (FileNotFoundError, JobError):
        return {}


def work(config: dict, rule: str, wildcards: dict) -> float | None:
    """Passes of a row through a training step (forward and backward); 0: it trains nothing; None: unknown."""
    task, stage = wildcards.get("task"), rule.partition("_")[0]
    if stage == "train" and not methods.of(config, wildcards["method"]).trains:
        return 0.0
    if task == "subject" or "noun" in wildcards:
        return subject_work(config, stage, wildcards)
    named = wildcards.get("dataset") in config["datasets"].get(task, {})
    dataset = expected_runs.dataset(config, task, wildcards["dataset"]) if named else {}
    if stage == "train":
        run = f"{wildcards['method']}/{wildcards['variant']}"
        settings = grid.hyperparameters(config, task, wildcards["dataset"], run)
        trained = (rows(dataset, "train") or 0) * settings.get("epochs", 0)
        if not trained or not settings.get("eval_steps"):
            return trained or None
        dev = rows(dataset, next(iter(dataset["benchmarks"].values()))) or 0
        return trained + trained / settings["batch_size"] / settings["eval_steps"] * dev * FORWARD
    if stage not in ("generate", "evaluate") or wildcards.get("benchmark") not in dataset.get("benchmarks", {}):
        return None
    name, _, split = dataset["benchmarks"][wildcards["benchmark"]].rpartition("/")
    items = rows(config["datasets"][task][name] if name else dataset, split)
    if items and stage == "generate":
        return items / int(wildcards["n_shards"])
    return items and items * FORWARD * len(grid.selections(task))


def subject_work(config: dict, stage: str, wildcards: dict) -> float | None:
    """Images that a training step, the sampler or an evaluation goes through."""
    task = config["tasks"]["subject"]
    if stage == "generate" and "noun" in wildcards:
        return task["class_images"]["images"] / int(wildcards["n_shards"])
    name, run = wildcards.get("dataset"), f"{wildcards.get('method')}/{wildcards.get('variant')}"
    if stage not in ("train", "generate", "evaluate"):
        return None
    if stage == "train":
        settings = grid.hyperparameters(config, "subject", name, run)
        return settings["max_steps"] * settings["batch_size"] * (2 if settings["prior_weight"] else 1)
    images = task["generation"]["images"] * len(subjects.prompts(config, name))
    return images * len(subjects.sampled(config, name, run)) / int(wildcards.get("n_shards", 1))


def rows(dataset: dict, split: str) -> int | None:
    return (dataset.get("rows") or dataset.get("source", {}).get("rows") or {}).get(split)


def stated(config: dict, job: Job) -> float | None:
    """GPU-seconds by the config's `minutes` (of one job) or `rows_per_second` (of one GPU)."""
    task = config["tasks"].get("subject" if "noun" in job.wildcards else job.wildcards.get("task"), {})
    part = (
        "retention"
        if job.rule == "evaluate_harness"
        else {"generate": "generation", "evaluate": "evaluation"}.get(job.stage)
    )
    resources = (task.get(part) or task).get("resources", {})
    if resources.get("minutes"):
        return resources["minutes"] * 60 * job.gpus
    return job.work / resources["rows_per_second"] if job.work and resources.get("rows_per_second") else None
