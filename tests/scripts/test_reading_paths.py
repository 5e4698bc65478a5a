"""The files that one reads (.ci/size.yaml) are those with the code: of a record's keys, a cell's number, a method."""

import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

import evaluate_glue
import factories
import table
from glue_tables import collect, grid
from hra_workflow.core import files
from hra_workflow.report import run_statistics
from hra_workflow.tasks.glue import metrics
from rule_jobs import train
from support import ROOT, method

PATHS = yaml.safe_load((ROOT / ".ci/size.yaml").read_text())["paths"]
OF_CONFIG = {"settings", "hyperparameters", "inputs", "versions", "weights_sha256", "before", "metrics"}  # have names


def path(letter: str) -> list[str]:
    (listed,) = (files for name, files in PATHS.items() if name.startswith(f"({letter})"))
    return listed


def keys(content: dict) -> Iterator[str]:
    for name, value in content.items():
        yield name
        inner = value if isinstance(value, list) else [value]
        if name in OF_CONFIG:  # of the metrics, also the values
            inner = [one for some in inner if name == "metrics" for one in some.values()]
        for one in inner:
            if isinstance(one, dict):
                yield from keys(one)


def test_every_key_of_a_record_is_written_in_the_files_of_its_path(make_run):
    run = make_run(method("hra"))
    record = train(run)
    evaluate_glue.main(run.evaluate)
    written = {*re.findall(r'"(\w+)"', "".join((ROOT / name).read_text() for name in path("d")))}
    found = {*keys(record), *keys(files.read_json(run.evaluate["output"]["metrics"]))}
    assert {"made_from", "device_seconds", "stderr", "best_on_dev"} <= found <= written and len(path("d")) <= 8


@pytest.fixture
def called(monkeypatch):
    """Return the set of the workflow's files whose functions run; it is filled from now on."""
    found: set[str] = set()
    prefix = f"{ROOT / 'workflow'}/"

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            found.add(frame.f_code.co_filename.removeprefix(f"{ROOT}/"))

    yield lambda: sys.setprofile(note) or found
    sys.setprofile(None)


def test_a_number_of_a_table_is_computed_in_the_files_of_its_path(tmp_path, called):
    expected = grid(tmp_path, seeds=(0, 1))
    collect(tmp_path, expected)
    params = factories.table_job(tmp_path, expected)["params"]
    runs, published = run_statistics.read_runs(tmp_path / "runs_glue.csv"), run_statistics.read_published(None)
    found = called()
    made = table.build(runs, published, params)
    metrics.values_with_errors(["matthews_correlation"], np.array([0, 1, 1]), np.array([0, 1, 0]))
    sys.setprofile(None)
    columns = [column["name"] for column in params["columns"]]
    assert (made[columns] != "").any().any() and len(path("e")) <= 12
    looked_up = {f"workflow/hra_workflow/core/{name}.py" for name in ("imports", "errors")}  # a metric, by its name
    assert found - looked_up <= {*path("e")}


def test_the_example_of_a_method_needs_no_other_files_than_those_of_its_path():
    page = (ROOT / "docs/extending.md").read_text().partition("## A method\n")[2].partition("\n## ")[0]
    linked = {name for name in re.findall(r"\]\(\.\./(workflow/\S+?\.py)\)", page)}
    assert linked == {"workflow/hra_workflow/methods/__init__.py", "workflow/hra_workflow/methods/base.py"}
    assert linked < {*path("c")} and len(path("c")) <= 8
