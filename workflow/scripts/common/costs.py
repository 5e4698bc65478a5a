"""GPU-hours: what the finished jobs took, and what the others may take, by the records or else by the config."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import config as grid
from common import files, jobs, progress
from common.jobs import Job


@dataclass
class Spent:
    """Hours of finished jobs, on GPUs and on CPUs."""

    gpu: float = 0.0
    cpu: float = 0.0


@dataclass
class Estimate:
    """GPU-hours of jobs; how many were judged by records, how many by the config, and how many by neither."""

    hours: float = 0.0
    by_records: int = 0
    by_config: int = 0
    unknown: int = 0

    def __str__(self) -> str:
        grounds = {"by records": self.by_records, "by the config": self.by_config, "not counted": self.unknown}
        listed = ", ".join(f"{count} jobs {what}" for what, count in grounds.items() if count)
        return f"about {self.hours:.3g} GPU-hours ({listed})" if listed else "none"


class Costs:
    """What the jobs of a config have taken, read once."""

    def __init__(self, config: dict, jobs: Iterable[Job]):
        self.config, self.spent = config, Spent()
        self.rates: dict[tuple, list[tuple[float, float]]] = {}
        for job in jobs:
            seconds, on_gpu = measured(job)
            interrupted = 0.0 if seconds else lost(job)
            self.spent.gpu += (seconds or interrupted) / 3600 * on_gpu
            self.spent.cpu += (seconds or interrupted) / 3600 * (not on_gpu)
            work = amount(config, job)
            for key in likes(job) if seconds and on_gpu and work else ():
                self.rates.setdefault(key, []).append((seconds, work))

    def estimate(self, jobs: Iterable[Job]) -> Estimate:
        total = Estimate()
        for job in jobs:
            if not job.gpus:
                continue
            work = amount(self.config, job)
            known = next((self.rates[key] for key in likes(job) if key in self.rates), None)
            if work == 0:
                continue
            if known and work:
                total.hours += work * sum(seconds for seconds, _ in known) / sum(done for _, done in known) / 3600
                total.by_records += 1
            elif (seconds := stated(self.config, job, work)) is not None:
                total.hours += seconds / 3600
                total.by_config += 1
            else:
                total.unknown += 1
        return total


def summary(config: dict, states: dict[Job, str]) -> str:
    """Hours so far and to go."""
    costs = Costs(config, states)
    cpu = f" and {costs.spent.cpu:.3g} CPU-hours" if costs.spent.cpu else ""
    left = costs.estimate(job for job, state in states.items() if state != "done")
    return f"{costs.spent.gpu:.3g} GPU-hours{cpu} so far, {left} to go"


def print_summary(config: dict, targets: Iterable[str]) -> None:
    """Of the tables among the targets of a dry-run; of all, where it makes everything."""
    names, targets = grid.tables(config), list(targets)
    wanted = [name for name in names if any(f"/table_{name}." in f"/{target}" for target in targets)]
    for name in names if not targets or "all" in targets else wanted:
        print(f"table_{name}: {summary(config, progress.states(jobs.of_table(config, name)))}")


FORWARD = 1 / 3  # of a training step: the backward pass costs twice the forward one


def likes(job: Job) -> list[tuple]:
    """Jobs of which this one may be like in rate, the most alike first: same run and data, same data, same rule."""
    data = job.benchmark or job.run.get("dataset")
    return [(job.rule, data, job.run.get("method"), job.run.get("variant")), (job.rule, data), (job.rule,)]


def measured(job: Job) -> tuple[float, bool]:
    """Seconds × processes of a finished job, else 0; and whether they are a GPU's."""
    stage = job.rule.partition("_")[0]
    if stage in ("train", "evaluate") and (record := read(job.output)):
        return record["seconds"] * record.get("processes", 1), not record["device"].startswith("CPU")
    if stage == "generate" and (path := Path(benchmark_file(job))).exists():
        return float(path.read_text().splitlines()[1].split()[0]) * max(1, job.gpus), job.gpus > 0
    return 0.0, job.gpus > 0


def lost(job: Job) -> float:
    """Seconds × processes of the attempts of a training that has not come to its end."""
    if not job.rule.startswith("train_"):
        return 0.0
    return sum(read(Path(job.error).with_name("attempts.json")).get("seconds", [])) * max(1, job.gpus)


def read(path: str | Path) -> dict:
    """A record, or {} where it is not there or not whole: what uses it for a table complains in its time."""
    try:
        return files.read_json(path)
    except (FileNotFoundError, ValueError):
        return {}


def benchmark_file(job: Job) -> str:
    """Snakemake's record of a generation's time: the answers themselves say nothing of it."""
    return job.output.replace(".jsonl.gz", ".benchmark.tsv")


def amount(config: dict, job: Job) -> float | None:
    """The work of a job, in passes of a row through a training step (forward and backward); None: not to be told."""
    stage, task = job.rule.split("_")[0], job.rule.rpartition("_")[2]
    if job.rule == "evaluate_harness":
        return 1.0
    if stage not in ("train", "generate", "evaluate"):
        return None
    run = job.run
    dataset = config["datasets"][task][run["dataset"]]
    if stage == "train":
        if config["methods"][run["method"]]["kind"] == "pretrained":
            return 0.0
        settings = grid.hyperparameters(config, task, run["dataset"], f"{run['method']}/{run['variant']}")
        trained = (rows(dataset, "train") or 0) * settings["epochs"]
        if not trained or not settings.get("eval_steps"):
            return trained or None
        dev = rows(dataset, next(iter(dataset["benchmarks"].values()))) or 0
        return trained + trained / settings["batch_size"] / settings["eval_steps"] * dev * FORWARD
    name, _, split = dataset["benchmarks"][job.benchmark].rpartition("/")
    items = rows(config["datasets"][task][name] if name else dataset, split)
    if items is None:
        return None
    if stage == "generate":
        return items / config["tasks"][task]["generation"]["shards"]
    return items * FORWARD * len(grid.selections(task))


def rows(dataset: dict, split: str) -> int | None:
    return (dataset.get("rows") or dataset["source"].get("rows") or {}).get(split)


def stated(config: dict, job: Job, work: float | None) -> float | None:
    """GPU-seconds by the config's `minutes` (of one job) or `rows_per_second` (of one GPU)."""
    if job.rule == "evaluate_harness":
        resources = config["tasks"]["math"]["retention"]["resources"]
    else:
        stage, _, task = job.rule.partition("_")
        entry = config["tasks"][task]
        resources = (entry["generation"] if stage == "generate" else entry)["resources"]
    if resources.get("minutes"):
        return resources["minutes"] * 60 * job.gpus
    return work / resources["rows_per_second"] if work and resources.get("rows_per_second") else None
