"""The tests of Snakemake's Slurm plugin on this executor, for `make others-tests`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from suites import Suite

sys.path.append(str(Path(__file__).parents[1] / "slurm"))
import cluster

THEIRS = "from snakemake_executor_plugin_slurm import "
EXECUTOR = "from slurm_stand_ins import Executor\n"
SETTINGS = "from snakemake_executor_plugin_slurm_packs import ExecutorSettings\n"


@contextlib.contextmanager
def slurm() -> Iterator[None]:
    try:
        cluster.up(JobAcctGatherParams=None)  # their jobs request 5 MB, which is no limit then
        yield
    finally:
        cluster.down()


SUITE = Suite(
    name="slurm",
    package="snakemake_executor_plugin_slurm",
    files="tests.py account array_jobs array_status_lookup cli parsing partition_selection scontrol_parsing "
    "time_conversion",
    what="tests of Snakemake's Slurm plugin and of its plugin interface, with `slurm-packs` as the executor",
    machine=slurm,
    lacking=cluster.lacking,
    page=Path(__file__).parents[2] / "upstream/README.md",
    stand_ins=Path(__file__).parent,
    edits=(
        (
            "tests/tests.py",
            f"{THEIRS}ExecutorSettings",
            "from slurm_stand_ins import ExecutorSettings, TestRegistry",
        ),
        ("tests/tests.py", 'return "slurm"', 'return "slurm-packs"'),
        ("tests/test_account.py", f"{THEIRS}Executor\n", EXECUTOR),
        (
            "tests/test_array_jobs.py",
            f"{THEIRS}(\n    Executor,\n    ExecutorSettings,",
            f"{EXECUTOR}{SETTINGS}{THEIRS}(",
        ),
        ("tests/test_array_status_lookup.py", f"{THEIRS}Executor,", f"{EXECUTOR}{THEIRS}"),
        ("tests/test_cli.py", f"{THEIRS}Executor, ExecutorSettings\n", f"{EXECUTOR}{SETTINGS}"),
    ),
    differs={
        "waits_below_chunk": "jobs that are ready are submitted: the base class forgets those that it lets wait",
        "group_job_for_array_rule": "group jobs are never tasks of an array, as documented: no warning",
    },
    anyway={
        "TestEfficiencyReport::test_simple_workflow": "the report needs Slurm's accounting database",
    },
)
