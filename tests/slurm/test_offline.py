"""Compute nodes have no way out: the reference was made, after its downloads, where there is no network."""

from grid import TABLES


def test_compute_jobs_need_no_network(reference):
    for table in TABLES:
        assert (reference.folder / table).read_text().count("\n") > 1
