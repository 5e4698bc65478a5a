"""Print what the tables will cost before anything runs: trainings, shards, evaluations, GPU-hours, downloads, disk.

    python workflow/scripts/plan.py [TABLE …] [--configfile FILE …]

What is there already counts as done, and its records are the basis of the estimate.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from status import arguments

from common import costs, jobs, progress

WEIGHTS = {"glue": 2}  # sets of weights that a run keeps: last and best; elsewhere last alone


def lines(config: dict, name: str) -> dict[str, str]:
    """Quantity -> text, of one table."""
    states = progress.states(jobs.of_table(config, name))
    made = Counter()
    for job, state in states.items():
        stage = job.rule.partition("_")[0]
        if not (stage == "train" and costs.amount(config, job) == 0.0):
            made[stage] += 1
            made[stage, "done"] += state == "done"

    def count(stage: str) -> str:
        return f"{made[stage]}" + (f", {made[stage, 'done']} done" if made[stage, "done"] else "")

    return {
        "jobs": f"{len(states)}, {sum(state == 'done' for state in states.values())} done",
        "trainings": count("train"),
        "shards": count("generate"),
        "evaluations": count("evaluate"),
        "hours": costs.summary(config, states),
        "download": download(config, states),
        "disk": disk(config, states),
    }


def download(config: dict, states: dict[jobs.Job, str]) -> str:
    """Sizes by manifest, or else by the config's `gigabytes`; what is there already apart."""
    there, known, unknown = 0.0, {}, []
    for job in states:
        if not job.rule.startswith("download_"):
            continue
        if states[job] == "done":
            there += sum(entry["bytes"] for entry in costs.read(job.output).get("files", {}).values()) / 1e9
            continue
        entry, label = source(config, job)
        if entry.get("source", {}).get("kind") in ("local", "init"):
            continue
        if "gigabytes" in entry:
            known[label] = entry["gigabytes"]
        else:
            unknown.append(label)
    parts = [f"{sum(known.values()):.3g} GB ({listed(f'{name} {size:.3g}' for name, size in known.items())})"] * bool(
        known
    )
    parts += [f"{there:.3g} GB are there"] * bool(there) + [f"unknown: {listed(unknown)}"] * bool(unknown)
    return "; ".join(parts) or "nothing"


def listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def source(config: dict, job: jobs.Job) -> tuple[dict, str]:
    """The config's entry of a download, and its name."""
    if job.rule == "download_harness":
        return {}, "lm-eval's benchmarks"
    *_, folder, name = Path(job.output.removesuffix(".manifest.json")).parts
    return (config["models"] if job.rule == "download_model" else config["datasets"][folder])[name], name


def disk(config: dict, states: dict[jobs.Job, str]) -> str:
    """The weights that the runs leave, by the records of such runs or the model's `parameters`."""
    trainings = [job for job in states if job.rule.startswith("train_")]
    sizes: dict[tuple, int] = {}
    for job in trainings:
        if record := costs.read(job.output):
            sizes[variant(job)] = record["adapter_bytes"]
    total, unknown = 0, set()
    for job in trainings:
        task, kind = job.rule.removeprefix("train_"), config["methods"][job.run["method"]]["kind"]
        size = 0 if kind == "pretrained" else sizes.get(variant(job))
        if size is None and kind == "full":
            size = 4 * config["models"][config["tasks"][task]["model"]].get("parameters", 0) or None
        if size is None:
            unknown.add("/".join(variant(job)))
        total += WEIGHTS.get(task, 1) * (size or 0)
    parts = [f"{total / 1e9:.3g} GB of weights"] * bool(total)
    parts += [f"not known before their first run: {listed(sorted(unknown), 4)}"] * bool(unknown)
    return "; ".join(parts) or "nothing"


def variant(job: jobs.Job) -> tuple[str, str]:
    return job.run["method"], job.run["variant"]


def main() -> None:
    config, tables = arguments(__doc__.splitlines()[0])
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for name in tables:
        task = name if name in config["tasks"] else "math"
        console.print(f"table_{name}, {config['tasks'][task]['model']}", style="bold")
        for quantity, text in lines(config, name).items():
            console.print(f"  {quantity:<12} {text}")


if __name__ == "__main__":
    main()
