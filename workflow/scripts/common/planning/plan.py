"""Cost estimates of tables from Snakemake's own plan, printed at the end of a dry run."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import methods, tasks
from common.core import job
from common.data import hub
from common.planning import gpu_hours, planned_jobs
from common.tasks.base import Task


def show(workflow, config: dict) -> None:
    """Print the cost estimate of every table requested in the dry run."""
    for name, planned in of_dag(workflow.dag, config).items() if workflow.dag else ():
        print("\n".join(lines(config, name, planned)))


def start(workflow, config: dict) -> None:
    """Record the jobs that will run, for `make status`."""
    for name, planned in of_dag(workflow.dag, config).items():
        planned_jobs.save(name, planned)


def of_dag(dag, config: dict) -> dict[str, list[planned_jobs.Job]]:
    """Return the jobs of every table, by name, and all jobs they need, in the order of the workflow."""
    known, found, every = {}, {}, tasks.load(config)
    for last in dag.jobs:
        if last.output and (path := Path(last.output[0])).name.startswith("table_"):
            chosen = {id(one): one for one in above(dag, last)}.values()
            found[path.stem] = [known.setdefault(id(one), one_of(dag, one, every)) for one in chosen]
    return dict(sorted(found.items()))


def above(dag, last) -> Iterator:
    """Iterate over a job and everything it depends on, dependencies first, once each."""
    seen, stack = set(), [(last, False)]
    while stack:
        one, ready = stack.pop()
        if ready:
            yield one
        elif one not in seen:
            seen.add(one)
            stack.append((one, True))
            stack += [(before, False) for before in reversed(list(dag.dependencies[one]))]


def one_of(dag, planned, every: dict[str, Task]) -> planned_jobs.Job:
    from snakemake.io import is_flagged

    outputs = [str(path) for path in planned.output]
    temporary = all(is_flagged(path, "temp") for path in planned.output)
    made = planned_jobs.Job(
        rule=planned.rule.name,
        wildcards=dict(planned.wildcards_dict),
        outputs=outputs,
        log=str(planned.log[0]) if planned.log else "",
        record=next(
            (path for path in outputs if path.endswith(("train.json", "metrics.json", "retention.json"))), None
        ),
        benchmark=str(planned.benchmark) if planned.benchmark else None,
        merged=[str(path) for after in dag.depending[planned] for path in after.output] if temporary else [],
        gpus=int(planned.resources.get("gpu", 0)),
        needed=dag.needrun(planned),
    )
    error = job.error_file({"rule": made.rule, "params": {"scratch": planned.params.get("scratch")}})
    made.error = str(error) if error else None
    made.work = gpu_hours.work(every, made.rule, made.wildcards)
    made.stated = gpu_hours.stated(every, made)
    return made


def lines(config: dict, name: str, planned: list[planned_jobs.Job]) -> list[str]:
    done, left = ([one for one in planned if one.needed == needed] for needed in (False, True))
    count, there = (Counter(one.stage for one in some if one.work != 0) for some in (planned, done))
    stages = {"train": "training runs", "generate": "shards", "evaluate": "evaluations"}
    listed = [
        f"{count[stage]} {what}" + (f" ({there[stage]} done)" if there[stage] else "")
        for stage, what in stages.items()
        if count[stage]
    ]
    return [
        f"{name}: {len(planned)} jobs ({len(done)} done), including {', '.join(listed)}",
        f"  hours:    {gpu_hours.hours(done, left)}",
        f"  download: {download(config, planned)}",
        f"  disk:     {disk(config, planned)}",
        *(f"  warning:  {text}" for text in warnings(config, name, planned)),
    ]


def warnings(config: dict, table: str, planned: list[planned_jobs.Job]) -> list[str]:
    """List settings that give a table's numbers a different meaning than a reader expects, and missing tokens.

    Needs no network: a gated source is only checked for a token on this machine.
    """
    task = tasks.load(config).get(table.removeprefix("table_"))
    missing = [source(config, one)[0] for one in planned if one.stage == "download" and one.needed]
    gates = [] if config.get("mirror") else [hub.missing_token(entry.get("source", {})) for entry in missing]
    return [*(task.warnings() if task else ()), *filter(None, gates)]


def download(config: dict, planned: list[planned_jobs.Job]) -> str:
    """Add up download sizes, from the manifest if it exists, otherwise from the config's `gigabytes`."""
    there, known, unknown = 0.0, {}, []
    for one in planned:
        if one.stage != "download":
            continue
        if manifest := gpu_hours.read(one.outputs[0]):
            there += sum(entry["bytes"] for entry in manifest.get("files", {}).values()) / 1e9
            continue
        entry, name = source(config, one)
        if "gigabytes" in entry:
            known[name] = entry["gigabytes"]
        elif entry.get("source", {}).get("kind") not in ("local", "init"):
            unknown.append(name)
    sizes = listed(f"{name} {size:.3g}" for name, size in known.items())
    parts = [f"{sum(known.values()):.3g} GB ({sizes})"] * bool(known) + [f"{there:.3g} GB already downloaded"] * bool(
        there
    )
    return "; ".join(parts + [f"unknown: {listed(unknown)}"] * bool(unknown)) or "nothing"


def source(config: dict, one: planned_jobs.Job) -> tuple[dict, str]:
    """Return the config's entry of a download, and its name."""
    if "model" in one.wildcards:
        return config["models"][one.wildcards["model"]], one.wildcards["model"]
    if "dataset" in one.wildcards:
        name = one.wildcards["dataset"]
        return config["datasets"][one.wildcards["task"]][name], name
    return {}, one.rule.removeprefix("download_")


def disk(config: dict, planned: list[planned_jobs.Job]) -> str:
    """Estimate the size of the runs' weights from records of the same variant, or the model's size if it is full."""
    every = tasks.load(config)
    trainings = [one for one in planned if one.stage == "train"]
    sizes = {variant(one): record["adapter_bytes"] for one in trainings if (record := gpu_hours.read(one.record))}
    total, unknown = 0, set()
    for one in trainings:
        task = every[one.wildcards["task"]]
        size = sizes.get(variant(one)) if task.trains(variant(one)) else 0
        if size is None and methods.of(config, one.wildcards["method"]).base == "all":
            model = config["models"][task.settings["model"]]
            size = 4 * model["parameters"] if "parameters" in model else None
        if size is None:
            unknown.add(variant(one))
        total += (size or 0) * task.checkpoints(one.wildcards, one.outputs)
    parts = [f"{total / 1e9:.3g} GB of weights"] * bool(total)
    return (
        "; ".join(parts + [f"unknown before the first run: {listed(sorted(unknown), 4)}"] * bool(unknown)) or "nothing"
    )


def variant(one: planned_jobs.Job) -> str:
    return f"{one.wildcards['method']}/{one.wildcards['variant']}"


def listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
