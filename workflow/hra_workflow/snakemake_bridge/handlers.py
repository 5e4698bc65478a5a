"""Handlers for Snakemake's first job, for its end, and for the end of a dry run.

Snakemake calls `onstart`, `onsuccess` and `onerror` only of the main Snakefile, and calls none of them in a dry run,
with `--no-hooks`, or if there is nothing to do. Therefore the plan of a dry run, the tables of a run, and warnings are
printed when Snakemake exits.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.core import imports, process_identity
from hra_workflow.core.errors import JobError, ending_the_run
from hra_workflow.cost import plan, planned_jobs
from hra_workflow.snakemake_bridge import dry_run, gpu_resources, planned

PRINTER = "workflow/hra_workflow/commands/print_table.py"
UNFINISHED = (
    "Not all jobs are done; finished work is kept. Correct what the errors above name, then rerun the same command "
    "(training resumes from its last checkpoint). If only runs have failed, `--config incomplete=True` builds the "
    "table from the others."
)


def register(workflow, config: dict, basedir: Path) -> None:
    """Prepare the main process for its jobs and its exit. `basedir`: the workflow's folder."""
    os.environ[process_identity.STARTED_BY] = json.dumps(process_identity.this_process())
    if workflow.is_main_process:
        atexit.unregister(at_exit)  # each `use rule … from` of a module reads the Snakefile again
        atexit.register(at_exit, workflow, config, basedir)


@cache
def warn(text: str) -> None:
    """Print a warning, once."""
    print(f"warning: {text}", file=sys.stderr)


def start(workflow, config: dict) -> None:
    """Record the jobs and choices; end the run if it must not start."""
    known = planned.jobs(workflow.dag, config)
    with ending_the_run("Nothing was started. "):
        if config["plan_file"]:
            raise JobError("`--config plan_file` is for a dry run: add -n")
        if problem := gpu_resources.excess(workflow, known.values()):
            raise JobError(problem)
        plan.start(config, planned.tables(workflow.dag, known))
        planned_jobs.begin(config["pathvars"]["results"])
    if config["preflight"]:
        from hra_workflow.preflight import probe

        probe.forget_logs(config)
        # `hra-workflow smoke` reports failed jobs itself: it stops some.
        logger.addFilter(lambda record: getattr(record, "event", None) not in (LogEvent.JOB_ERROR, LogEvent.ERROR))


def end(workflow, config: dict, failed: bool = False) -> None:
    """Report the results of the probes of `hra-workflow smoke`; after an error, print how to continue."""
    if config["preflight"]:
        with ending_the_run():
            finish = imports.import_named(config["probes"]["report"], "config: probes.report")
            finish(config, {job.wildcards.get("task") for job in planned.jobs(workflow.dag, config).values()})
    if failed:
        print(UNFINISHED)


# At exit


def at_exit(workflow, config: dict, basedir: Path) -> None:
    """Print the plan, tables and warnings."""
    dag, settings, output = workflow.dag, workflow.execution_settings, workflow.output_settings
    planning = workflow.dag_settings
    if dag is None or not settings or not is_complete(dag):  # an error, already printed, or a listing
        return
    if output.dryrun:
        with contextlib.suppress(WorkflowError, SystemExit):  # after an error of the plan, which has been printed
            end_of_dry_run(workflow, config, basedir)
    elif Quietness.ALL not in (output.quiet or ()):
        show_tables(dag, basedir / PRINTER)
    if RerunTrigger.CODE in planning.rerun_triggers:  # the workflow's profiles/default has not been read
        warn(
            "`code` is a rerun trigger, so any change of the workflow's code repeats finished runs. Add "
            f"--workflow-profile {basedir / 'profiles/default'}"
        )


def is_complete(dag) -> bool:
    """Return whether all jobs are planned, which Snakemake then numbers."""
    try:
        return all(dag.jobid(job) is not None for job in dag.jobs)
    except KeyError:
        return False


def end_of_dry_run(workflow, config: dict, basedir: Path) -> None:
    """Print the cost estimate, the jobs that run again and where jobs would run; write them to `plan_file` if set."""
    if config["plan_file"]:
        planned.write_file(workflow, config, basedir)
        return
    known = planned.jobs(workflow.dag, config)
    plan.show(config, planned.tables(workflow.dag, known), known.values())
    for line in dry_run.again(workflow.dag):
        print(f"  again:    {line}")
    if problem := gpu_resources.excess(workflow, known.values()):
        print(f"  warning:  {problem}")
    submitted = [job for job, plain in known.items() if plain.needed and not job.rule.norun]
    if submitted:
        print(f"  where:    {dry_run.where(workflow, submitted)}")


def show_tables(dag, script: Path) -> None:
    """Print the tables of a run with this script."""
    tables = finished_tables(dag)
    if known := sorted(table for table, is_known in tables.items() if is_known):
        sys.stdout.flush()
        subprocess.run([sys.executable, "-P", script, *known], check=False)
    for table in sorted(tables.keys() - set(known)):
        warn(
            f"{table} is not shown: Snakemake has no record of how it was built, such as after a copy without "
            f".snakemake. Delete {Path(table).parent}/*.csv and rerun the command: tables are then built from records, "
            "which are compared with the config"
        )


def finished_tables(dag) -> dict[str, bool]:
    """Return the tables of a run, each with whether Snakemake has its record; return none if one is not finished."""
    jobs = planned.of_tables(dag.jobs).values()
    if any(dag.needrun(job) and not dag.finished(job) for job in jobs):
        return {}
    return {str(job.output[0]): dag.needrun(job) or not dag.reason(job).no_metadata for job in jobs}
