"""A run ends with its tables on the terminal, and the files to look at next: print_table.py, in a separate process.

Imported by the Snakefile on login nodes, so no pandas here.
"""

import atexit
import subprocess
import sys
from pathlib import Path


def show_at_exit(workflow, script: Path) -> None:
    """Print the run's tables with this script when Snakemake ends, after its logger, which may clear the terminal.

    Snakemake calls no handler if there is nothing to do.
    """
    if workflow.is_main_process:
        atexit.register(show, workflow, script)


def show(workflow, script: Path) -> None:
    tables = finished(workflow)
    if shown := [table for table, is_known in tables.items() if is_known]:
        sys.stdout.flush()
        subprocess.run([sys.executable, script, *shown], check=False)
    for table in sorted(tables.keys() - set(shown)):
        print(
            f"warning: {table} is not shown: Snakemake has no record of how it was built, such as after a copy without "
            f".snakemake. Delete {Path(table).parent}/*.csv and rerun the command: tables are then built from records, "
            "which are compared with the config",
            file=sys.stderr,
        )


def finished(workflow) -> dict[str, bool]:
    """Return the tables of a run, and for each whether Snakemake knows how it was built.

    None of a dry run, of `--quiet all`, or if one of them is not finished.
    """
    from snakemake.settings.enums import Quietness

    dag, executed = workflow.dag, workflow.execution_settings
    if dag is None or not executed or workflow.dryrun or Quietness.ALL in (workflow.output_settings.quiet or ()):
        return {}
    jobs = [one for one in dag.jobs if one.output and Path(one.output[0]).name.startswith("table_")]
    if any(dag.needrun(one) and not dag.finished(one) for one in jobs):
        return {}
    return {str(one.output[0]): dag.needrun(one) or not dag.reason(one).no_metadata for one in jobs}
