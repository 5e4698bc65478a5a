"""Compute nodes have no way out: what comes after the downloads runs in a network namespace with loopback alone."""

import os
import shutil

from grid import new_project, require

# $0 and $@ are the command; a new namespace's loopback is down, a node's never is.
WITHOUT_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"')
METRICS = (
    "results/glue/sentences/hra/r8/seed0/validation/metrics.json",
    "results/math/sums/hra/r8/seed0/test/metrics.json",
)


def test_compute_jobs_need_no_network(tmp_path, monkeypatch):
    tools = [name for name in ("unshare", "ip") if not shutil.which(name)]
    require(not tools and os.geteuid() == 0, f"needs root, unshare (util-linux) and ip (iproute2); not found: {tools}")
    project = new_project(tmp_path / "project")
    command = ("--cores", "2", "--configfile", "grid.yaml", "-q", "rules")
    project.snakemake(*command, "--until", "download_model", "download_dataset", "--", *METRICS)
    # The script's own settings are to keep it off the network, not those of the tests.
    monkeypatch.delenv("HF_HUB_OFFLINE")
    project.snakemake(*command, "--", *METRICS, before=WITHOUT_NETWORK)
    for path in METRICS:
        assert (project.folder / path).exists()
