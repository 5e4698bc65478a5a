"""Cost estimates of tables from the planned jobs (snakemake_bridge/planned.py), printed at the end of a dry run."""

from collections import Counter
from collections.abc import Iterable, Iterator

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.core.wording import hours_of, listed, number, plural
from hra_workflow.cost import planned_jobs
from hra_workflow.cost.estimates import estimate
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import sources
from hra_workflow.report import selections
from hra_workflow.tasks import columns, user_data
from hra_workflow.tasks.base import Task

STAGES = {"train": "training run", "generate": "shard", "evaluate": "evaluation"}


def show(config: dict, tables: dict[str, list[Job]], every: Iterable[Job]) -> None:
    """Print the cost estimate of every table of a dry run, and their common needs. `every`: all jobs of the run."""
    every = [job for job in every if job.outputs]
    if tables and not any(job.needed for job in every):
        print(f"{', '.join(tables)}: nothing to do, all {plural(len(every), 'job')} are done")
        return
    for name, planned in tables.items():
        print("\n".join(table(name, planned)))
    if tables:
        # Two tables refer to a shared job by the same object.
        together = {id(job): job for planned in tables.values() for job in planned}
        print("\n".join(common(config, list(tables), list(together.values()))))


def start(config: dict, tables: dict[str, list[Job]]) -> None:
    """Record the jobs of the tables that a run makes, for `hra-workflow status`."""
    for name, planned in tables.items():
        planned_jobs.save(config["pathvars"]["results"], name, planned)


def table(name: str, planned: list[Job]) -> list[str]:
    """Describe one table: its jobs, and its hours by stage."""
    done = [one for one in planned if not one.needed]
    count, there = (Counter(one.stage for one in some if one.work != 0) for some in (planned, done))
    parts = [
        plural(count[stage], what) + (f" ({there[stage]:,} done)" if there[stage] else "")
        for stage, what in STAGES.items()
        if count[stage]
    ]
    including = f", including {', '.join(parts)}" if parts else ""
    return [f"{name}: {plural(len(planned), 'job')} ({len(done):,} done){including}", *of_hours(planned)]


def of_hours(planned: list[Job]) -> list[str]:
    """Describe the hours of jobs, if any are known or wanted."""
    found = estimate(planned)
    stages = listed(f"{name} {hours_of(of_stage)}" for name, of_stage in found.by_stage().items())
    lines = {"hours:   ": str(found), "stages:  ": stages}
    return [f"  {what} {text}" for what, text in lines.items() if text]


def common(config: dict, names: list[str], planned: list[Job]) -> list[str]:
    """Describe the tables' common needs: downloads, licences, and, for several tables, hours."""
    several = len(names) > 1
    return [
        *([f"all {len(names)} tables: {plural(len(planned), 'job')}", *of_hours(planned)] if several else ()),
        f"  download: {download_summary(config, planned)}",
        *(f"  licence:  {line}" for line in licences(config, planned)),
        *(f"  data:     {line}" for task in of_names(config, names) for line in user_data.contents(task)),
        *(f"  warning:  {text}" for text in warnings(config, names, planned)),
    ]


def warnings(config: dict, names: Iterable[str], planned: list[Job]) -> list[str]:
    """List settings that change the meaning of a table's numbers, and missing tokens."""
    chosen = of_names(config, names)
    notes = []
    for task in chosen:
        notes += [*task.warnings(), *columns.unshown(task)]
        notes += selections.training_split_warnings(user_data.benchmarks(task))
    return notes + missing_tokens(config, planned)


def of_names(config: dict, names: Iterable[str]) -> list[Task]:
    """Return the tasks whose main tables are among these."""
    every = tasks.load(config)
    return [every[task] for name in names if (task := name.removeprefix("table_")) in every]


# Downloads


def download_jobs(planned: Iterable[Job]) -> list[Job]:
    return [one for one in planned if one.stage == "download"]


def entry(config: dict, one: Job) -> tuple[dict, str]:
    """Return the config's entry of a download, and its name."""
    if "model" in one.wildcards:
        return config["models"][one.wildcards["model"]], one.wildcards["model"]
    if "dataset" in one.wildcards:
        name = one.wildcards["dataset"]
        return config["datasets"][one.wildcards["task"]][name], name
    if "address" in one.wildcards:
        return {"source": sources.of_archive(one.wildcards["address"])}, one.wildcards["address"]
    return {}, one.rule.removeprefix("download_")


def is_remote(stated: dict) -> bool:
    """Return whether an entry is downloaded, not read in place or generated."""
    return "source" not in stated or sources.of(stated["source"]).remote


def manifest_bytes(path: str) -> float:
    """Return the total bytes of a manifest's files; 0 if it does not exist."""
    return sum(file["bytes"] for file in files.read_if_valid(path).get("files", {}).values())


def size(config: dict, one: Job) -> float | None:
    """Return the bytes of a download: from its manifest, else the config's `gigabytes`; None: unknown."""
    stated, _ = entry(config, one)
    if not is_remote(stated):
        return 0.0
    if "source" in stated and sources.of(stated["source"]).archive:  # a separate download
        return manifest_bytes(one.outputs[0])
    return manifest_bytes(one.outputs[0]) or (stated["gigabytes"] * 1e9 if "gigabytes" in stated else None)


def download_summary(config: dict, planned: Iterable[Job]) -> str:
    """Describe the downloads in one line: missing, finished and of unknown size."""
    there, known, unknown = 0.0, {}, []
    for one in download_jobs(planned):
        found, name = size(config, one), entry(config, one)[1]
        if manifest_bytes(one.outputs[0]):
            there += manifest_bytes(one.outputs[0])
        elif found is None:
            unknown.append(name)
        elif found:
            known[name] = found / 1e9
    sizes = listed(f"{name} {number(amount)}" for name, amount in known.items())
    parts = [f"{number(sum(known.values()))} GB ({sizes})"] * bool(known)
    parts += [f"{number(there / 1e9)} GB already downloaded"] * bool(there)
    return "; ".join(parts + [f"unknown size: {listed(unknown)}"] * bool(unknown)) or "nothing"


def licences(config: dict, planned: Iterable[Job]) -> Iterator[str]:
    """List the downloads with their licence, one line per licence."""
    grouped: dict[str, list[str]] = {}
    for one in download_jobs(planned):
        stated, name = entry(config, one)
        if is_remote(stated) and "address" not in one.wildcards:  # entries unpacked from an archive state its licence
            grouped.setdefault(stated.get("license", "not stated in the config"), []).append(name)
    return (f"{listed(names)}: {licence}" for licence, names in grouped.items())


def missing_tokens(config: dict, planned: Iterable[Job]) -> list[str]:
    """Describe the missing gated downloads for which this machine has no token."""
    needed = [entry(config, one)[0].get("source") for one in download_jobs(planned) if one.needed]
    problems = [sources.of(source).missing_token() for source in needed if source]
    return list(filter(None, problems))
