"""A cluster for the session, a grid whose jobs fail on it, and the same grid made on this machine."""

import os
import shutil
from pathlib import Path

import pytest

import cluster as slurm
from fault_injection import FaultInjection, inject
from grid import SECONDS, TABLES, new_project
from project import Project
from support import require

# $0 and $@ are the command; a new namespace's loopback is down, a node's never is.
WITHOUT_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"')


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)
            if item.path.name != "test_grid.py":  # one grid by commit, the others nightly
                item.add_marker(pytest.mark.full)
            item.add_marker(pytest.mark.timeout(3 * SECONDS))  # the first one makes two grids


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Project:
    """Build the grid's tables with undisturbed local jobs, without a network: compute nodes have no way out."""
    tools = [name for name in ("unshare", "ip") if not shutil.which(name)]
    require(not tools and os.geteuid() == 0, f"needs root, unshare (util-linux) and ip (iproute2); not found: {tools}")
    project = new_project(tmp_path_factory.mktemp("reference") / "project")
    command = ("--cores", "2", "--configfile", "grid.yaml", "-q", "rules")
    project.snakemake(*command, "--until", "download_model", "download_dataset", "--", *TABLES)
    with pytest.MonkeyPatch.context() as patch:
        # The scripts' own settings are to keep them off the network, not those of the tests.
        patch.delenv("HF_HUB_OFFLINE")
        project.snakemake(*command, "--", *TABLES, before=WITHOUT_NETWORK, seconds=SECONDS)
    return project


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
def faulty(cluster, tmp_path_factory):
    """Build the same tables with the README's command on the cluster, with faults injected into the jobs."""
    folder, faults = tmp_path_factory.mktemp("faulty") / "project", tmp_path_factory.mktemp("faults")
    return inject(FaultInjection, folder, faults, cluster)
