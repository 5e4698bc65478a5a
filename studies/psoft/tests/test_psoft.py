"""PSOFT's protocol: the config against protocol.csv, the halves of the validation rows, and numbers of parameters."""

import csv

import numpy
import pytest
import yaml

import parameters
from config_keys import at
from hra_workflow.config import overlays, validation
from hra_workflow.core import grid
from hra_workflow.report import run_statistics
from hra_workflow.tasks.glue import metrics
from studies.psoft import halves
from support import ROOT, paper_config, with_files

STUDY = ROOT / "studies/psoft"
PAGE = (STUDY / "README.md").read_text()
PROTOCOL = list(csv.DictReader((STUDY / "results/protocol.csv").open(newline="")))
LABELS = numpy.random.default_rng(0).integers(0, 2, 277)
PREDICTIONS = numpy.random.default_rng(1).integers(0, 2, 277)
ADAPTERS = {  # trained parameters on all linear layers of DeBERTaV3-base and of Llama-3.2-3B
    "hra/r16-all": (1_327_104, 11_927_552),
    "dora/r8-all": (1_410_048, 12_931_072),
    "oft/b32-all": (1_285_632, 11_554_816),
}


@pytest.fixture(scope="module")
def config() -> dict:
    return with_files("studies/psoft/config.yaml")


def published(task: str):
    return run_statistics.read_csv(STUDY / f"results/psoft_{task}.csv")


def test_the_config_and_its_demo_are_valid(config, monkeypatch):
    validation.check(config)
    monkeypatch.chdir(ROOT)
    files = [content for _, content in overlays.with_extended([STUDY / "demo.yaml"], overlays.read)]
    merged = overlays.merged(paper_config(), *files)
    overlays.finish_merge(merged, files)
    validation.check(merged)


def test_the_config_has_the_values_of_the_protocol_and_every_value_of_the_presets_a_source(config):
    for row in PROTOCOL:
        keys = [int(key) if key.isdecimal() else key for key in row["key"].split("/")]
        assert at(config, keys) == yaml.safe_load(row["value"]), row["key"]
    stated = {row["key"] for row in PROTOCOL if row["source"]}
    presets = {task: config["presets"][task]["psoft"] for task in ("glue", "math")}
    keys = {f"presets/{task}/psoft/all/{key}" for task, preset in presets.items() for key in preset["all"]}
    assert keys - stated == {f"presets/{task}/psoft/all/learning_rate" for task in presets}  # chosen by trials


def test_the_halves_are_those_of_the_authors_code():
    numpy.random.seed(42)  # their lines: set_seed(training_args.seed), np.arange, np.random.shuffle, len // 2
    indices = numpy.arange(277)
    numpy.random.shuffle(indices)
    assert [[*halves.rows(277, selecting=part)] for part in (True, False)] == [[*indices[:138]], [*indices[138:]]]


@pytest.mark.parametrize("changed", [True, False], ids=["selecting", "reported"])
def test_a_metric_reads_its_half_only(changed):
    other = PREDICTIONS.copy()
    rows = halves.rows(277, selecting=changed)
    other[rows] = 1 - other[rows]
    unchanged = halves.ACCURACY if changed else halves.SELECTING_ACCURACY
    assert unchanged.function(LABELS, other) == unchanged.function(LABELS, PREDICTIONS)


@pytest.mark.parametrize(("name", "metric"), [("accuracy", halves.ACCURACY), ("matthews_correlation", halves.MATTHEWS)])
def test_a_metric_is_the_workflow_s_on_the_reported_half(name, metric):
    rows = halves.rows(277, selecting=False)
    assert metric.function(LABELS, PREDICTIONS) == metrics.METRICS[name].function(LABELS[rows], PREDICTIONS[rows])


@pytest.mark.parametrize("run", ADAPTERS)
def test_the_adapters_have_these_numbers_of_parameters(config, run):
    found = []
    for task, model in (("glue", "deberta-v3-base"), ("math", "llama-3.2-3b")):
        method = grid.method(config, task, *run.split("/"))
        base = parameters.base_model(task, model, method)
        found.append(parameters.count(task, base, method, ["pooler", "classifier"] if task == "glue" else []))
    assert tuple(found) == ADAPTERS[run]


def test_the_page_has_the_published_numbers():
    glue, numbers = published("glue").set_index(["run", "column"])["value"], published("math")
    numbers = numbers.set_index(["run", "column"])["value"]
    for run, label in (("lora/r8-all", "LoRA, r=8"), ("dora/r8-all", "DoRA, r=8"), ("oft/b32-all", "OFTv2, b=32")):
        shown = [glue[run, "Average"], numbers[run, "GSM8K"], numbers[run, "MATH"]]
        assert f"| {label} | " in PAGE and " | ".join(shown) in PAGE
