"""Numbers are finite, names are unique, folders are apart: one check of the whole config."""

import copy
import math
import re
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from config_keys import at
from demo_changes import demo_config
from hra_workflow.config import overlays, validation
from hra_workflow.config.values import check_folders, check_values
from hra_workflow.core.errors import JobError
from support import ROOT, paper_config, put

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
        ({"columns": [COLA, COLA]}, r"tasks.glue.columns: expected every name once, found 'A' more than once"),
        ({"columns": [COLA, COLA | {"scale": 50}]}, r"tasks.glue.columns: .* found 'A' more than once"),
        ({"averages": [{"name": "A", "columns": ["A"]}]}, r"tasks.glue.columns and averages: .* found 'A' more than"),
        ({"averages": [{"name": "M", "columns": ["A"]}] * 2}, r"tasks.glue.averages: .* found 'M' more than once"),
        (
            {"averages": [{"name": "M", "columns": ["A", "A"]}]},
            r"tasks.glue.averages.0.columns: .*every entry once",
        ),
        ({"columns": [COLA, COLA | {"name": "B_std"}]}, r"tasks.glue.columns .*end in .*_std,.* found 'B_std'. Change"),
        ({"columns": [COLA, COLA | {"name": "method"}]}, r"tasks.glue.columns .*none of .* found 'method'. Change"),
        ({"columns": [COLA | {"better": "lower"}]}, r"tasks.glue.columns: A: expected better: higher, .* found lower"),
        (
            {"columns": [COLA, COLA | {"name": "B", "scale": 1}], "averages": [{"name": "M", "columns": ["A", "B"]}]},
            r"tasks.glue.averages: M: expected columns with one scale .*, B \(scale 1, better higher\)",
        ),
        (
            {"figures": {"parameters": ["A", "A"], "lambda": []}},
            r"tasks.glue.figures.parameters: .*every entry once",
        ),
    ],
)
def test_columns_that_would_be_merged_are_refused(config, changes, message):
    config["tasks"]["glue"] |= GLUE
    validation.check(config)
    config["tasks"]["glue"] |= changes
    refused(config, message)


def test_a_column_with_the_name_of_a_part_of_another_is_refused(config):
    grid = [{"runs": ["lora/r8", "hra/r8"], "datasets": ["rte", "sst2"], "seeds": [0]}]
    figures = {"parameters": ["All"], "lambda": []}
    config["tasks"]["glue"] |= GLUE | {"grid": grid, "columns": [ACCURACY], "figures": figures}
    validation.check(config)
    config["tasks"]["glue"]["columns"] = [ACCURACY, RTE]
    refused(config, r"tasks.glue.columns and averages: .*found 'All: rte' more than once")


LPIPS = {"name": "lpips", "kind": "lpips-vgg", "model": "lpips-vgg"}
PROMPT = {"kind": "hra_workflow.demo.prompt_fidelity:PromptFidelity"}
ARC = {"task": "arc_challenge", "shots": 25, "metric": "acc"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("methods.hra.variants.r16.label", "LoRA, r=8", r"tasks.\w+.grid: `label` .* found 'LoRA, r=8' more than once"),
        (
            "datasets.glue.cola.benchmarks",
            {"validation": "validation", "training": "train"},
            r"datasets.glue.cola.benchmarks: expected every name once, found 'training'",
        ),
        ("datasets.glue.cola.labels", ["a", "a"], r"datasets.glue.cola.labels: .*every entry once"),
        (
            "datasets.glue.cola.metrics",
            ["accuracy", "accuracy"],
            r"datasets.glue.cola.metrics: .*every entry once",
        ),
        (
            "datasets.glue.cola.splits.train",
            ["a.tsv", "a.tsv"],
            r"datasets.glue.cola.splits.train: .*every entry once",
        ),
        (
            "datasets.glue.mrpc.columns",
            ["sentence", "sentence"],
            r"datasets.glue.mrpc.columns: .*every entry once",
        ),
        (
            "datasets.control.coco.evaluators",
            ["canny", "canny"],
            r"datasets.control.coco.evaluators: .*every entry once",
        ),
        ("tasks.subject.prompts.live", ["a {subject}"] * 2, r"tasks.subject.prompts.live: .*every entry once"),
        ("tasks.subject.evaluation.best_by", ["dino", "dino"], r"evaluation.best_by: .*every entry once"),
        ("tasks.subject.evaluation.evaluators", [LPIPS] * 2, r"evaluators: expected every name once, found 'lpips'"),
        (
            "tasks.subject.evaluation.evaluators",
            [LPIPS, PROMPT | {"name": "lpips_real"}],
            r"evaluation.evaluators: expected every metric once, found 'lpips_real'",
        ),
        (
            "tasks.subject.evaluation.evaluators",
            [LPIPS, PROMPT | {"name": "blocked"}],
            r"evaluation.evaluators: expected every metric once, found 'blocked'",
        ),
        (
            "tasks.subject.evaluation.evaluators",
            [LPIPS, PROMPT | {"name": "n_items"}],
            r"every metric once, found 'n_items",
        ),
        ("tasks.math.retention.seeds", [0, 0], r"tasks.math.retention.seeds: .*every entry once"),
        ("tasks.math.retention.benchmarks.method", ARC, r"retention.benchmarks: .* found 'method'. Change the name"),
        ("tasks.math.retention.benchmarks.ARC_std", ARC, r"retention.benchmarks: .* found 'ARC_std'. Change the name"),
        ("tasks.control.sheets.runs", ["hra/r8", "hra/r8"], r"tasks.control.sheets.runs: .*every entry once"),
    ],
)
def test_two_things_with_one_name_are_refused(config, path, value, message):
    config["tasks"]["glue"]["grid"][0]["runs"] += ["hra/r16"]
    config["methods"]["hra"]["variants"]["r16"] = copy.deepcopy(config["methods"]["hra"]["variants"]["r8"])
    config["methods"]["hra"]["variants"]["r16"]["label"] = "another"
    config["tasks"]["glue"]["preset"]["hra/r16"] = config["tasks"]["glue"]["preset"]["hra"]
    put(config, path, value)
    refused(config, message)


# Folders

FOLDERS = ("results", "resources", "scratch", "logs")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (dict.fromkeys(FOLDERS, "y"), r"results: .* apart from resources, .*the same"),
        ({"scratch": "results/scratch"}, r"scratch: .* apart from results, found results/scratch, .*within it"),
        ({"scratch": "./results/../results"}, r"results: .* apart from scratch, found results, which is the same"),
        ({"results": "."}, r"resources: .* apart from results, .* within it"),
        ({"scratch": "fast"}, r"results: .* apart from scratch, .* the same"),
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
        return check_folders(folders)
    with pytest.raises(JobError, match=f"^config: pathvars.{message}") as problem:
        check_folders(folders)
    assert str(problem.value).endswith("Choose another folder")
    refused(paper_config() | {"pathvars": folders}, "^config: pathvars")


def test_the_results_of_another_project_are_no_scratch(tmp_path):
    (tmp_path / "runs_glue.csv").touch()
    folders = {name: f"{tmp_path}-{name}" for name in FOLDERS}
    check_folders(folders)
    with pytest.raises(JobError, match=r"^config: pathvars.scratch: .* found results in .*: runs_glue.csv. Finished"):
        check_folders(folders | {"scratch": str(tmp_path)})


def test_projects_may_share_resources():
    config_files = [*(ROOT / "config").rglob("*.yaml"), *ROOT.glob("studies/*/config/*.yaml")]
    stated = {path: overlays.read(path).get("pathvars") for path in config_files}
    folders = {path.stem: places for path, places in stated.items() if places and "results" in places}
    assert len(folders) >= 3 and folders["tune"]["resources"] == "demo/resources"
    for places in folders.values():
        check_folders(places)


# Numbers


def numbers(value, path: tuple = ()):
    if isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(one, (*path, name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


@pytest.mark.parametrize("demo", [False, True])
def test_every_number_is_finite(demo):
    config, wrong = demo_config() if demo else paper_config(), cycle([math.nan, math.inf, -math.inf, 2**63])
    paths = list(numbers(config))
    for path in paths:
        *above, name = path
        parent, found = at(config, above), at(config, path)
        parent[name] = next(wrong)
        with pytest.raises(JobError, match=f"^config: {re.escape('.'.join(map(str, path)))}: expected a"):
            check_values({path[0]: config[path[0]]})
        parent[name] = found
    assert len(paths) > 500
    check_values(config)


@pytest.mark.parametrize(
    "path", ["max_gpu_hours", "tasks.glue.defaults.weight_decay", "methods.hra.variants.r8.lambda"]
)
def test_the_check_of_a_config_begins_with_its_numbers(config, path):
    put(config, path, math.nan)
    refused(config, rf"config: {path}: expected a finite number, found nan")


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (2**32 - 1, None),
        (2**32, r"seeds.0: expected at most 4294967295, found 4294967296"),
        (1.0, r"seeds.0: expected an integer, found 1.0; write 1$"),
        (True, r"seeds.0: expected an integer, found True"),
    ],
)
def test_a_seed_is_an_integer_that_libraries_take(config, seed, message):
    config["tasks"]["glue"]["grid"][0]["seeds"] = [seed]
    if message:
        return refused(config, message)
    validation.check(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: &a {glue: *a}", r"config: tasks.glue: is a mapping or list that contains itself"),
        (
            "models: {m: {targets: &a [x, *a]}}",
            r"config: models.m.targets.1: is a mapping or list that contains itself",
        ),
        ("methods: {hra: {variants: {8: {}}}}", r"config: methods.hra.variants: expected texts as keys, found 8"),
        (
            "models: {m: {license: 2026-01-01}}",
            r"config: models.m.license: expected a text, number.*Write it in quotes",
        ),
    ],
)
def test_what_yaml_reads_differently_is_refused_with_its_key(text, message):
    with pytest.raises(JobError, match=message):
        check_values(yaml.safe_load(text))


def test_no_task_at_all_is_refused(config):
    config["tasks"] = dict.fromkeys(config["tasks"])
    overlays.finish_merge(config, [])
    refused(config, "config: tasks: expected a task, found none")


@pytest.mark.parametrize(
    ("text", "target", "key"),
    [
        ("tasks: {glue: null}", "results/table_glue.csv", "tasks.glue"),
        ("tasks: {math: {retention: null}}", "table_retention", "tasks.math.retention"),
    ],
)
def test_a_table_that_the_config_switches_off_names_the_key(fresh, tmp_path, text, target, key):
    (tmp_path / "off.yaml").write_text(text)
    output = fresh.snakemake("-n", "-q", "rules", "--configfile", f"{tmp_path}/off.yaml", "--", target, ok=False)
    assert f"Error: config: {key}: expected the settings of a requested table, found null" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("below", "message"),
    [
        (b"tasks: {glue: {grid: [{seeds: [010]}]}}", "seeds.0: expected a decimal number, found 010, which YAML"),
        (b"card: a100 # caf\xe9", "below.yaml, line 1: expected text in UTF-8, found the byte 0xe9. Save it as UTF-8"),
    ],
)
def test_a_file_that_snakemake_would_misread_is_refused(fresh, tmp_path, below, message):
    (tmp_path / "below.yaml").write_bytes(below)
    (tmp_path / "mine.yaml").write_text("extends: below.yaml\n")
    output = fresh.snakemake("-n", "-q", "rules", "--configfile", f"{tmp_path}/mine.yaml", "--", "all", ok=False)
    assert f"Error: {tmp_path}/below.yaml" in output and message in output and "Traceback" not in output
