"""The results of the probes of `hra-workflow smoke`, from their records, logs and error files.

They are printed, one line per stage, and the measured rates are written to results/preflight.json.
"""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from hra_workflow import tasks
from hra_workflow.core import files, grid, rates
from hra_workflow.core.errors import JobError
from hra_workflow.preflight import probe
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.expected_runs import error_files, with_errors


@dataclass(frozen=True)
class Finding:
    """One line of the report. `text`: the result, or the problem and its fix. `rate`: as `measured`, for the plan."""

    check: str
    ok: bool
    text: str
    rate: dict | None = None

    def __str__(self) -> str:
        return f"  {'ok  ' if self.ok else 'TODO'}  {self.check}: {self.text}"


def finish(config: dict, wanted: Collection[str]) -> None:
    """Print the outcomes of the probes of the `wanted` tasks, save their rates, and delete their files, except logs.

    Raises JobError if there is a problem to fix.
    """
    found = list(of_probes(config, wanted))
    save(Path(config["pathvars"]["results"]).parent, rates=[one.rate for one in found if one.rate])
    conclude("hra-workflow smoke", found, config["pathvars"])


def save(results: Path, **measured: list[dict]) -> None:
    """Replace in results/preflight.json the `rates` and the `memory` of the same tasks by the same command."""
    path = results / "preflight.json"
    report = files.read_if_valid(path)
    for name, entries in measured.items():
        new = {(entry.get("by"), entry["task"]) for entry in entries}
        report[name] = [one for one in report.get(name, []) if (one.get("by"), one["task"]) not in new] + entries
    files.write_json(path, report)


def conclude(command: str, found: list[Finding], places: dict[str, str]) -> None:
    """Print the findings and delete the probes' files, except logs; raise JobError if there is a problem to fix."""
    for name in ("results", "resources", "scratch"):
        shutil.rmtree(places[name], ignore_errors=True)
    left = sum(not one.ok for one in found)
    print("\n".join(map(str, found)))
    print(f"{command}: {len(found)} checks, {left or 'nothing'} to do")
    if left:
        raise JobError(f"{command}: {left} of {len(found)} checks say TODO.")


def of_probes(config: dict, wanted: Collection[str]) -> Iterator[Finding]:
    """Yield every finding of the probes of the `wanted` tasks."""
    chosen = [task for task in tasks.load(config).values() if task.name in wanted and task.runs()]
    for task in chosen:
        for run in with_errors(task.runs(), error_files(task)):
            yield from training(config, task, run)
        yield from stages(config, task, run)
        yield from left_out(config, task)


def training(config: dict, task: Task, run: dict) -> Iterator[Finding]:
    name, log = f"{run['method']}/{run['variant']}", log_of(config, "train", task, run)
    check = f"{task.name} {name}, training"
    record = Path(grid.paths(config)["run"].format(task=task.name, **run), "train.json")
    settings = task.hyperparameters(run["dataset"], name)
    if not record.exists():
        yield Finding(check, False, failure(run["errors"], log, "raise `gradient_accumulation`"))
        return
    found = files.read_json(record)
    if found["status"] != "ok":
        yield Finding(check, False, f"{found['status']}: {found['error']}")
        return
    if settings["kill_at_step"]:
        resumed = found["resumed_from"]
        text = f"killed at step {settings['kill_at_step']}, resumed from step {resumed[-1] if resumed else 0}"
        ok = resumed == [settings["kill_at_step"]]
        yield Finding(f"{task.name} {name}, kill and resume", ok, text if ok else f"{text}: see {log}")
    rate = rates.last(log)
    if rate:
        seconds = rate["seconds"] / found["processes"]
        text = f"{seconds:.3g} s a step of {rate['rows']} rows, {memory(rate)}"
        yield Finding(check, True, text, measured(config, task, run, "train", rate))
    else:
        yield Finding(check, False, f"not measured: delete {config['pathvars']['results']} and run again")


def stages(config: dict, task: Task, run: dict) -> Iterator[Finding]:
    """Yield the findings of generation and evaluation of a run."""
    name = f"{run['method']}/{run['variant']}"
    for path in probe.metrics(config, task, run):
        benchmark = Path(path).parent.name
        errors, logs = run["benchmarks"][benchmark], {}
        if "generation" in task.settings:
            folder = task.folder_of_shards(benchmark)
            logs["generate"] = log_of(config, "generate", task, run, f"/{folder}/shard0-of-1")
        logs["evaluate"] = log_of(config, "evaluate", task, run, f"/{benchmark}")
        for stage, log in logs.items():
            check = f"{task.name} {name}, {'generation' if stage == 'generate' else 'evaluation'}"
            rate, problems = rates.last(log), [one for one in errors if one.endswith(f"{stage}.error.json")]
            if log.exists() and "out of memory with a batch" in log.read_text(errors="replace"):
                text = f"the batch does not fit and was halved: lower `batch_size`; see {log}"
                yield Finding(check, False, text)
            elif rate:
                text = f"{rate['seconds'] / rate['rows']:.3g} s a row in a batch of {rate['rows']}, {memory(rate)}"
                yield Finding(check, True, text, measured(config, task, run, stage, rate))
            elif stage == "evaluate" and Path(path).exists():
                yield Finding(check, True, "works")
            else:
                yield Finding(check, False, failure(problems, log, "lower `batch_size`"))


def left_out(config: dict, task: Task) -> Iterator[Finding]:
    """Name the evaluators that could not run, since their networks cannot be built from a configuration."""
    missing = task.settings.get("evaluation", {}).get("left_out", [])
    if missing:
        text = f"not run before their weights are downloaded: {', '.join(missing)}"
        yield Finding(f"{task.name}, evaluators", True, text)


def log_of(config: dict, stage: str, task: Task, run: dict, below: str = "") -> Path:
    place = f"{task.name}/{run['dataset']}/{run['method']}/{run['variant']}/seed{run['seed']}{below}"
    return Path(f"{config['pathvars']['logs']}/{stage}/{place}.log")


def memory(rate: dict) -> str:
    return f"peak memory {rate['peak_memory_bytes'] / 1e9:.3g} of {rate['memory_bytes'] / 1e9:.3g} GB"


def measured(config: dict, task: Task, run: dict, stage: str, rate: dict) -> dict:
    """Return a rate for `hra-workflow plan`: seconds per row, summed over the processes."""
    return probe.workload(task, f"{run['method']}/{run['variant']}") | {
        "stage": stage,
        "kind": grid.kind_of(config["methods"][run["method"]]),
        "seconds_per_row": rate["seconds"] / rate["rows"],
        "device": rate["device"],
    }


def failure(errors: list[str], log: Path, remedy: str) -> str:
    problem = next((files.read_json(path)["error"] for path in map(Path, errors) if path.exists()), None)
    if problem and "out of memory" in problem.lower():
        return f"the batch does not fit: {remedy} in the preset ({problem})"
    return f"{problem}; see {log}" if problem else f"did not run: see {log} and Snakemake's output"
