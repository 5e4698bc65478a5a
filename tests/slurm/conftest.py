"""A cluster for the session, and the tables of a run that nothing disturbs."""

import subprocess
import time
from pathlib import Path

import pytest

import cluster as slurm
from grid import COMMAND, PROGRAM, QUICK, SECONDS, TABLES, new_project, processes, require


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(3 * SECONDS))  # two grids, the second one disturbed


@pytest.fixture(scope="session")
def cluster():
    reason = slurm.lacking()
    require(not reason, reason)
    try:
        slurm.up()
        yield slurm
    finally:
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

        def ended() -> bool:
            moments.append({script: processes(script) for script in ("train_glue.py", "train_math.py")})
            return head.poll() is not None

        try:
            slurm.wait(ended, "end of the undisturbed run", time.monotonic() + SECONDS, log.read_text)
        finally:
            head.kill()
    assert head.returncode == 0, f"{log.read_text()}\n{slurm.state()}"
    return project, log.read_text(), moments
