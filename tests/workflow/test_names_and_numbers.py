"""Numbers are finite, names are unique, folders are apart: one check of the whole config."""

import math
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from config_keys import at
from demo_changes import demo_config
from hra_workflow.config import overlays, validation
from hra_workflow.config.model import model_of
from hra_workflow.core.errors import JobError
from hra_workflow.keys import problems
from support import paper_config

COLA = {"name": "A", "dataset": "cola", "benchmark": "validation", "metric": "matthews_correlation"}
GLUE = {"grid": [{"runs": ["lora/r8", "hra/r8"], "datasets": ["cola", "rte"], "seeds": [0]}]}
GLUE |= {"columns": [COLA], "averages": [], "figures": {"parameters": ["A"], "lambda": []}, "published": False}
ACCURACY = {"name": "All", "benchmark": "validation", "metric": "accuracy"}
RTE = {"name": "All: rte", "dataset": "rte", "benchmark": "validation", "metric": "accuracy"}


def refused(config: dict, message: str) -> None:
    with pytest.raises(JobError, match=message) as problem:
        validation.check(config)
    assert str(problem.value).startswith("config: ") and "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": [COLA, COLA]},
            r"tasks.glue.columns and averages: expected every name once, found 'A' more than once",
        ),
        ({"averages": [{"name": "A", "columns": ["A"]}]}, r"tasks.glue.columns and averages: .* found 'A' more than"),
        ({"columns": [COLA, COLA | {"name": "B_std"}]}, r"tasks.glue.columns .*end in .*_std,.* found 'B_std'. Change"),
        ({"columns": [COLA | {"better": "lower"}]}, r"tasks.glue.columns: A: expected better: higher, .* found lower"),
        (
            {"columns": [COLA, COLA | {"name": "B", "scale": 1}], "averages": [{"name": "M", "columns": ["A", "B"]}]},
            r"tasks.glue.averages: M: expected columns with one scale .*, B \(scale 1, better higher\)",
        ),
        (
            {
                "grid": [{"runs": ["lora/r8", "hra/r8"], "datasets": ["rte", "sst2"], "seeds": [0]}],
                "columns": [ACCURACY, RTE],
                "figures": {"parameters": ["All"], "lambda": []},
            },
            r"tasks.glue.columns and averages: .*found 'All: rte' more than once",
        ),
    ],
)
def test_columns_that_would_be_merged_are_refused(config, changes, message):
    config["tasks"]["glue"] |= GLUE
    validation.check(config)
    config["tasks"]["glue"] |= changes
    refused(config, message)


# Folders

FOLDERS = ("results", "resources", "scratch", "logs")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (dict.fromkeys(FOLDERS, "y"), r"results: .* apart from resources, .*the same"),
        ({"scratch": "results/scratch"}, r"scratch: .* apart from results, found results/scratch, .*within it"),
        ({"scratch": "./results/../results"}, r"results: .* apart from scratch, found results, which is the same"),
        ({"scratch": "fast/more"}, r"scratch: .* apart from results, .* within it"),
        ({"scratch": "results-scratch", "resources": "/data/resources"}, None),
    ],
)
def test_folders_are_apart(tmp_path, monkeypatch, places, message):
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("fast").symlink_to("results")
    folders = {name: name for name in FOLDERS} | places
    if not message:
        return validation.check_folders(folders)
    with pytest.raises(JobError, match=f"^config: pathvars.{message}") as problem:
        validation.check_folders(folders)
    assert str(problem.value).endswith("Choose another folder")
    refused(paper_config() | {"pathvars": folders}, "^config: pathvars")


def test_the_results_of_another_project_are_no_scratch(tmp_path):
    (tmp_path / "runs_glue.csv").touch()
    folders = {name: f"{tmp_path}-{name}" for name in FOLDERS}
    validation.check_folders(folders)
    with pytest.raises(JobError, match=r"^config: pathvars.scratch: .* found results in .*: runs_glue.csv. Finished"):
        validation.check_folders(folders | {"scratch": str(tmp_path)})


# Numbers


def numbers(value, path: tuple = ()):
    """Yield the paths of the numbers but those of PEFT's arguments and of a generator's, which have no models."""
    if isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            if name not in ("peft", "source"):
                yield from numbers(one, (*path, name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def test_every_number_is_finite():
    config, wrong = demo_config(), cycle([math.nan, math.inf, -math.inf])
    paths = list(numbers(config))
    for path in paths:
        *above, name = path
        at(config, above)[name] = next(wrong)
    found = problems.find(model_of(config), config)
    names = {one.partition(": expected")[0] for one in found}
    assert len(paths) > 400 and {".".join(map(str, path)) for path in paths} == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: {hra: {variants: {8: {}}}}", r"config: methods.hra.variants: expected a text, found 8; write it in"),
        ("models: {m: {license: 2026-01-01}}", r"config: models.m.license: expected a text, .*; write it in quotes"),
    ],
)
def test_what_yaml_reads_differently_is_refused_with_its_key(config, text, message):
    with pytest.raises(JobError, match=message):
        validation.check(overlays.merged(config, yaml.safe_load(text)))


def test_no_task_at_all_is_refused(config):
    config["tasks"] = dict.fromkeys(config["tasks"])
    overlays.finish_merge(config, [])
    refused(config, "config: tasks: expected a task, found none")


def test_a_table_that_the_config_switches_off_names_the_key(fresh, tmp_path):
    (tmp_path / "off.yaml").write_text("tasks: {math: {retention: null}}")
    command = ("-n", "-q", "rules", "--configfile", f"{tmp_path}/off.yaml")
    output = fresh.snakemake(*command, "--", "table_retention", ok=False)
    assert "Error: config: tasks.math.retention: expected the settings of a requested table, found null" in output
    assert "Traceback" not in output


def test_a_file_that_snakemake_would_misread_is_refused(fresh, tmp_path):
    (tmp_path / "below.yaml").write_text("tasks: {glue: {grid: [{seeds: [0], seeds: [1]}]}}")
    (tmp_path / "mine.yaml").write_text("extends: below.yaml\n")
    output = fresh.snakemake("-n", "-q", "rules", "--configfile", f"{tmp_path}/mine.yaml", "--", "all", ok=False)
    assert f"Error: {tmp_path}/below.yaml" in output and "Traceback" not in output
    assert "tasks.glue.grid.0: expected every key once, found 'seeds' more than once" in output
