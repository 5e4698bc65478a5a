"""The jobs of a dry run as a JSON file, for programs that are not part of the workflow: `--config plan_file=FILE`.

workflow/schemas/plan.schema.json describes it.
"""

import json
from pathlib import Path
from types import SimpleNamespace

from hra_workflow.core import files
from hra_workflow.core.job import from_snakemake
from hra_workflow.cost.hours import estimate
from hra_workflow.snakemake_bridge import planned

VERSION = 1


def write(workflow, config: dict, basedir: Path) -> None:
    """Write the plan of a dry run to the file of the config."""
    known = planned.jobs(workflow.dag, config)
    left = {job.name: job.hours for job in estimate(known.values()).remaining}
    tables = planned.of_tables(known)
    users: dict = {job: [] for job in planned.above(workflow.dag, *tables.values(), *known) if job.output}
    for name, table in tables.items():
        for job in planned.above(workflow.dag, table):
            users[job].append(name)
    jobs = [
        of_job(workflow, job)
        | {"tables": names, "needed": known[job].needed, "gpus": known[job].gpus}
        | {"gpu_hours": (spent := estimate([known[job]])).gpu, "cpu_hours": spent.cpu}
        | {"hours_left": left.get(known[job].name, 0.0)}
        for job, names in users.items()
    ]
    content = {"version": VERSION, "basedir": str(basedir), "config": config, "jobs": jobs}
    files.write_text(config["plan_file"], json.dumps(content, indent=1) + "\n")


def of_job(workflow, job) -> dict:
    """Return a job as its script gets it, with all its files and its times."""
    plain = from_snakemake(
        SimpleNamespace(
            rule=job.rule.name, input=job.input, output=job.output, params=job.params, resources={}, threads=1,
            wildcards=SimpleNamespace(items=job.wildcards_dict.items), log=[*job.log, ""],
        )
    )  # fmt: skip
    recorded = workflow.persistence.metadata(job.output[0])
    return {name: plain[name] for name in ("rule", "wildcards", "input", "output", "params")} | {
        "script": Path(job.format_wildcards(str(job.rule.script))).name if job.rule.script else None,
        "inputs": [str(path) for path in job.input],
        "outputs": [str(path) for path in job.output],
        "benchmark": str(job.benchmark) if job.benchmark else None,
        "started": recorded and recorded.starttime,
        "finished": recorded and recorded.endtime,
    }
