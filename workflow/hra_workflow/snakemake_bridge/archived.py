"""The jobs of finished tables as plain data for `make archive`, in a dry run."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from hra_workflow.core import job as scripts
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed
from hra_workflow.snakemake_bridge import planned


def write(workflow, config: dict, basedir: Path) -> None:
    """Write the requested archive; print the error if that is impossible."""
    try:
        content = json.dumps(described(workflow, config, basedir))
    except JobError as problem:
        print(f"Error: {problem}")
        return
    subprocess.run([sys.executable, basedir / "workflow/scripts/archive.py"], input=content, text=True, check=False)


def described(workflow, config: dict, basedir: Path) -> dict:
    """Return the request with all finished jobs; raise JobError if a table is not finished."""
    dag, request = workflow.dag, config["request"]
    expect(
        request.get("weights", "0") == "0",
        f"WEIGHTS={request.get('weights')}: expected 0 (without adapters and images) or nothing. Correct it.",
    )
    tables = [job for job in dag.jobs if job.output and Path(job.output[0]).name.startswith("table_")]
    above = dict.fromkeys(job for table in tables for job in planned.above(dag, table))
    if missing := [str(job.output[0]) for job in above if dag.needrun(job)]:
        raise JobError(
            f"expected finished tables, found {len(missing)} jobs that have to run: {listed(missing)}. Run them first "
            "(make run), with the same CONFIG; `make plan` lists their reasons."
        )
    others = [job for job in dag.jobs if job not in above and job.output]
    every = [*above, *(job for job in others if not dag.needrun(job))]
    return {
        "request": request,
        "basedir": str(basedir),
        "config": config,
        "jobs": [of_job(workflow, job) for job in every],
        "left_out": [str(path) for job in others if dag.needrun(job) for path in job.output],
    }


def of_job(workflow, job) -> dict:
    """Return a job as core/job.py gives it to its script, with all its files, script and times."""
    plain = scripts.from_snakemake(
        SimpleNamespace(
            rule=job.rule.name, input=job.input, output=job.output, params=job.params, resources={}, threads=1,
            wildcards=SimpleNamespace(items=job.wildcards_dict.items), log=[*job.log, ""],
        )
    )  # fmt: skip
    recorded = workflow.persistence.metadata(job.output[0])
    return {
        "rule": plain["rule"],
        "script": Path(job.format_wildcards(str(job.rule.script))).name if job.rule.script else None,
        "inputs": [str(path) for path in job.input],
        "outputs": [str(path) for path in job.output],
        "benchmark": str(job.benchmark) if job.benchmark else None,
        "started": recorded and recorded.starttime,
        "finished": recorded and recorded.endtime,
    } | {name: plain[name] for name in ("input", "output", "params", "identity", "wildcards")}
