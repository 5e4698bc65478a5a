"""A cluster for the session, and the tables of a run that nothing disturbs."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import cluster as slurm
from grid import COMMAND, PROGRAM, QUICK, TABLES, new_project, processes, require


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def cluster():
    installed = all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch"))
    require(os.geteuid() == 0 and installed, "needs root and Debian's slurmctld, slurmd, slurm-client")
    slurm.up()
    yield slurm
    slurm.down()


@pytest.fixture(scope="session")
def undisturbed(cluster, tmp_path_factory):
    """Project, output, and what was seen of GPU jobs while they ran: a list of moments."""
    project = new_project(tmp_path_factory.mktemp("undisturbed") / "project")
    log = project.folder / "output.log"
    with log.open("w") as stream:
        command = (*COMMAND, *QUICK, "--", *TABLES)
        head = project.start(*command, program=PROGRAM, stdout=stream, stderr=subprocess.STDOUT)
        moments = []
        while head.poll() is None:
            moments.append({script: processes(script) for script in ("train_glue.py", "train_math.py")})
            time.sleep(0.5)
    assert head.returncode == 0, log.read_text()
    return project, log.read_text(), moments
