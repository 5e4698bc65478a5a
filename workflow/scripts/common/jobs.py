"""The jobs behind a table, and the files by which each is known: what the rules would make of the config.

For a look at a grid of thousands of jobs in a second, while Snakemake works on it. The rules are the truth;
tests/workflow/test_status.py holds this list against them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import config as grid


@dataclass(frozen=True)
class Job:
    rule: str
    output: str
    log: str
    error: str | None = None  # where a failure leaves its message
    gpus: int = 0
    run: dict = field(default_factory=dict, hash=False)  # dataset, method, variant, seed
    benchmark: str | None = None
    merged: str | None = None  # what a temporary output went into

    @property
    def name(self) -> str:
        parts = [*(str(self.run[key]) for key in ("dataset", "method", "variant") if key in self.run)]
        parts += [f"seed{self.run['seed']}"] if "seed" in self.run else []
        return "/".join(parts + [self.benchmark] * bool(self.benchmark)) or self.output


def of_table(config: dict, table: str) -> list[Job]:
    """Every job on the way to results/table_{table}.csv."""
    places = config["pathvars"]
    if table == "retention":
        chosen = grid.retention_runs(config)
        trained = [run["dataset"] for run in chosen]
        first = Job("download_harness", f"{places['resources']}/harness.manifest.json", log_of(config, "harness"))
        jobs = [first, *before_evaluation(config, "math", chosen, trained)]
        jobs += [harness(config, run) for run in chosen]
        last = {"table_retention": "table_retention"}
    else:
        task = "math" if table == "compute" else table
        chosen = grid.runs(config, task)
        jobs = list(before_evaluation(config, task, chosen, datasets(config, task, chosen)))
        for run in chosen:
            for benchmark in config["datasets"][task][run["dataset"]]["benchmarks"]:
                jobs += evaluations(config, task, run, benchmark)
        last = {"runs": f"runs_{task}", "table_compute" if table == "compute" else "table": f"table_{table}"}
    for rule, name in last.items():
        jobs.append(Job(rule, f"{places['results']}/{name}.csv", f"{places['logs']}/tables/{name}.log"))
    return jobs


def datasets(config: dict, task: str, chosen: list[dict]) -> list[str]:
    """What the runs train on and, of the math task, are judged on."""
    trained = list(dict.fromkeys(run["dataset"] for run in chosen))
    entries = [config["datasets"][task][name] for name in trained]
    judged = [source.split("/")[0] for entry in entries for source in entry["benchmarks"].values() if "/" in source]
    return [*trained, *judged]


def before_evaluation(config: dict, task: str, chosen: list[dict], datasets: list[str]) -> Iterator[Job]:
    """Downloads, augmentations and trainings."""
    resources = config["pathvars"]["resources"]
    names = [f"models/{config['tasks'][task]['model']}", *(f"datasets/{task}/{name}" for name in datasets)]
    for name in dict.fromkeys(names):
        rule = "download_model" if name.startswith("models/") else "download_dataset"
        yield Job(rule, f"{resources}/{name}.manifest.json", log_of(config, name))
    yield from augmentations(config, task, chosen)
    for run in chosen:
        yield training(config, task, run)


def log_of(config: dict, download: str) -> str:
    return f"{config['pathvars']['logs']}/download/{download}.log"


def augmentations(config: dict, task: str, chosen: list[dict]) -> Iterator[Job]:
    places, scratch = config["pathvars"], grid.places(config)["start_scratch"]
    for method, variant, seed in dict.fromkeys((run["method"], run["variant"], run["seed"]) for run in chosen):
        run = {"method": method, "variant": variant, "seed": seed}
        path = f"{task}/{method}/{variant}/seed{seed}"
        error = f"{scratch.format(task=task, **run)}/augment.error.json"
        output, log = f"{places['resources']}/augmented/{path}/manifest.json", f"{places['logs']}/augment/{path}.log"
        yield Job("augment", output, log, error, run=run)


def training(config: dict, task: str, run: dict) -> Job:
    folder, scratch, logs, name = of_run(config, task, run)
    gpus = config["tasks"][task]["resources"]["gpu"]
    return Job(
        f"train_{task}", f"{folder}/train.json", f"{logs}/train/{name}.log", f"{scratch}/train.error.json", gpus, run
    )


def harness(config: dict, run: dict) -> Job:
    folder, scratch, logs, name = of_run(config, "math", run)
    gpus = config["tasks"]["math"]["retention"]["resources"]["gpu"]
    log, error = f"{logs}/evaluate/{name}/retention.log", f"{scratch}/retention/evaluate.error.json"
    return Job("evaluate_harness", f"{folder}/retention.json", log, error, gpus, run)


def evaluations(config: dict, task: str, run: dict, benchmark: str) -> Iterator[Job]:
    """Of one benchmark: the shards of the answers and their gathering, where the task generates, and the judging."""
    folder, scratch, logs, name = of_run(config, task, run)
    folder, scratch = f"{folder}/{benchmark}", f"{scratch}/{benchmark}"
    gpus = min(1, config["tasks"][task]["resources"]["gpu"])
    if generation := config["tasks"][task].get("generation"):
        gpus, log = 0, f"{logs}/generate/{name}/{benchmark}"
        outputs = f"{folder}/outputs.jsonl.gz"
        for index in range(generation["shards"]):
            shard = f"shard{index}-of-{generation['shards']}"
            yield Job(
                f"generate_{task}",
                f"{folder}/{shard}.jsonl.gz",
                f"{log}/{shard}.log",
                f"{scratch}/{shard}/generate.error.json",
                generation["resources"]["gpu"],
                run,
                benchmark,
                outputs,
            )
        yield Job("gather_outputs", outputs, f"{log}/gather.log", run=run, benchmark=benchmark)
    log, error = f"{logs}/evaluate/{name}/{benchmark}.log", f"{scratch}/evaluate.error.json"
    yield Job(f"evaluate_{task}", f"{folder}/metrics.json", log, error, gpus, run, benchmark)


def of_run(config: dict, task: str, run: dict) -> tuple[str, str, str, str]:
    """Its folder, its scratch folder, where logs lie, and its name in there."""
    places = grid.places(config)
    folder, scratch = (places[name].format(task=task, **run) for name in ("run", "scratch"))
    return folder, scratch, config["pathvars"]["logs"], str(Path(folder).relative_to(config["pathvars"]["results"]))
