"""A hundred faults in a grid on two nodes: all results are those of undisturbed local jobs to the byte.

With one seed Snakemake requests the state of jobs from sacct, with the other from squeue.
"""

from collections import Counter

import pytest

import accounting
from grid import SECONDS, TABLES
from storm import FAULTS, SETTINGS, STORM, Storm, controller_disk
from support import require

SEEDS = {1: "sacct", 2: "squeue"}
NAMES = ("*.safetensors", "predictions.jsonl.gz", "outputs.jsonl.gz", "table_*.csv")


@pytest.fixture(scope="module")
def undisturbed(reference, tmp_path_factory):
    """Build the storm's grid with local jobs."""
    project = reference.copy(tmp_path_factory.mktemp("undisturbed") / "project")
    (project.folder / "storm.yaml").write_text(STORM)
    command = ("--cores", "2", "--configfile", "grid.yaml", "storm.yaml", "-q", "rules", "--", *TABLES)
    project.snakemake(*command, seconds=SECONDS)
    return project


@pytest.fixture
def large_cluster(cluster):
    """Start the cluster with accounting, a small disk of the controller, and little patience with its nodes."""
    require(not accounting.lacking(), accounting.lacking())
    with controller_disk() as disk:
        cluster.up(accounting.up, StateSaveLocation=str(disk), **SETTINGS)
        try:
            yield cluster, disk
        finally:
            cluster.up()  # as it was for other tests


@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_hundred_faults_change_nothing(undisturbed, large_cluster, tmp_path, seed):
    cluster, disk = large_cluster
    storm = Storm(tmp_path / "project", tmp_path, cluster, seed, disk, SEEDS[seed])
    try:
        storm.run()
    finally:
        storm.kill()
        storm.calm()
    print(f"seed {seed}: {storm.minutes:.0f} min, Snakemake ended {storm.ended}, started {len(storm.outputs)} times")
    assert storm.happened == Counter({kind: count for kind, (count, *_) in FAULTS.items()})
    assert storm.happened.total() == 100

    expected, results = undisturbed.folder / "results", storm.project.folder / "results"
    compared = sorted(path for name in NAMES for path in expected.rglob(name))
    assert len(compared) == 15 * 3 + 2 * 3 + 2
    for path in compared:
        assert (results / path.relative_to(expected)).read_bytes() == path.read_bytes(), path
    left = [path for name in ("checkpoint-*", ".unsealed*") for path in storm.project.folder.rglob(name)]
    assert not left
    assert not cluster.slurm("squeue", "-h", "-p", "main") and not cluster.steps()
