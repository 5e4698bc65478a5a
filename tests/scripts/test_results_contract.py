"""docs/results-contract.md: what it lists is what finished runs consist of; test_demo.py checks the demo's results."""

import re
from pathlib import Path

import pytest

import factories
import results_contract
import table
import test_compared_tables
from support import ROOT

SCHEMAS = ROOT / "workflow/schemas"


@pytest.fixture
def results(tmp_path) -> Path:
    """Write the runs and tables of three methods with three seeds, and a run that has diverged."""
    expected, _ = test_compared_tables.make(tmp_path)
    table.main(factories.table_job(tmp_path, expected))
    return tmp_path


def test_finished_results_fit_the_contract_and_what_does_not_is_found(results):
    assert list(results_contract.problems(results)) == []
    for file, old, new, problem in (
        ("runs_glue.csv", r",accuracy,[\d.]+", ",accuracy,high", "value: 'high' is not of type 'number'"),
        ("table_glue.csv", "n_seeds", "seeds", "'n_seeds' is a required property"),
        ("glue/rte/hra/r8/seed0/train.json", '"adapter_bytes"', '"bytes"', "'adapter_bytes' is a required property"),
        ("glue/rte/hra/r8/seed0/dev/metrics.json", '"n_items"', '"items"', "'n_items' is a required property"),
        ("notes.txt", "", "", "notes.txt: not in the contract"),
    ):
        path = results / file
        path.write_text(re.sub(old, new, path.read_text() if path.exists() else ""))
        assert problem in "\n".join(results_contract.problems(results))
