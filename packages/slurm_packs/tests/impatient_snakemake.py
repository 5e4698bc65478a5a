"""Snakemake as it is, but for its pauses, since the jobs of the tests take seconds: the executor waits ten seconds
longer each time no job has ended, and up to a minute after sbatch has failed. And for HRA_JOBS_PYTHON, the Python of
its jobs, if it is set (forked_python.py)."""

import os
import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

from snakemake_executor_plugin_slurm_packs.packs import Submission

SECONDS = 1
Executor.next_seconds_between_status_checks = property(lambda self: SECONDS, lambda self, longer: None)
Submission.pauses = (1, 3, 9)

if __name__ == "__main__":
    sys.executable = os.environ.get("HRA_JOBS_PYTHON", sys.executable)
    sys.exit(main())
