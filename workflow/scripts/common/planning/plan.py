"""Cost estimates of tables from Snakemake's own plan, printed at the end of a dry run."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common import tasks
from common.core import job
from common.planning import disk, downloads, gpu_hours, planned_jobs
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
    known, found, every, rates = {}, {}, tasks.load(config), gpu_hours.trial_rates(config)
    for last in dag.jobs:
        if last.output and (path := Path(last.output[0])).name.startswith("table_"):
            chosen = {id(one): one for one in above(dag, last)}.values()
            found[path.stem] = [known.setdefault(id(one), one_of(dag, one, every, rates)) for one in chosen]
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


def one_of(dag, planned, every: dict[str, Task], rates: list[dict]) -> planned_jobs.Job:
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
    made.measured = gpu_hours.by_preflight(rates, every, made)
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
        f"  download: {downloads.summary(config, planned)}",
        *(f"  licence:  {line}" for line in downloads.licences(config, planned)),
        f"  disk:     {disk.estimate(config, planned)}",
        *(f"  warning:  {text}" for text in warnings(config, name, planned)),
    ]


def warnings(config: dict, table: str, planned: list[planned_jobs.Job]) -> list[str]:
    """List settings that give a table's numbers a different meaning than a reader expects, and missing tokens."""
    task = tasks.load(config).get(table.removeprefix("table_"))
    return [*(task.warnings() if task else ()), *downloads.missing_tokens(config, planned)]
