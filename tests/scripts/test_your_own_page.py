"""docs/your-own.md, docs/other-projects.md: every example is a valid config of one task, its data are read, its
function works; the learning rates to start from are those of the configs.

workflow/test_your_own_walk.py runs the commands of the first page, workflow/test_new_project.py plans the projects.
"""

import json
import re

import numpy
import pytest
import yaml
from PIL import Image

import new_project
from hra_workflow.config import overlays
from hra_workflow.core import grid, tuning
from hra_workflow.models import diffusion
from hra_workflow.tasks.math import answers
from support import ROOT, merged, paper_config

FIRST, SECOND = ((ROOT / f"docs/{name}.md").read_text() for name in ("your-own", "other-projects"))
PAGES = FIRST + SECOND
BLOCKS = dict(re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", PAGES, re.DOTALL))
FILES = dict(re.findall(r"`(\S+)`:\n\n```\w+\n(.*?)```", PAGES, re.DOTALL))  # the name of a data file precedes it
RUNS = {"model": 1, "method": 6, "flux2": 2, "hint": 4}
TASKS = {"model": "math", "method": "glue", "flux2": "subject", "hint": "control"}
RANGES = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", FIRST.partition("|:--|")[2], re.MULTILINE)
COMPARISON = [ROOT / f"config/demo/{name}.yaml" for name in ("config", "real_data", "comparison", "comparison_b")]


def test_the_pages_have_these_examples():
    configs = {name for name in BLOCKS if "." not in name}
    assert configs - {"tune"} == RUNS.keys() == TASKS.keys()


def project(task: str, demo: bool = False, name: str = "reviews") -> list[dict]:
    """Return the files of a new project, its own last."""
    return [content for _, content in overlays.with_extended([new_project.make(name, task, demo)], overlays.read)]


def test_the_search_of_the_page_replaces_that_of_a_new_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, chosen = merged(*project("glue", True), yaml.safe_load(BLOCKS["tune"]))
    assert chosen == ["glue"] and len(tuning.trials(config["tasks"]["glue"]["tune"], "oft/b16")) == 4


def ends(config: dict, task: str, run: str, preset: str = "") -> list[float]:
    """Return the lowest and the highest learning rate of a run's trials, or of a preset; one if they are equal."""
    return sorted({min(found := rates(config, task, run, preset)), max(found)})


def rates(config: dict, task: str, run: str, preset: str) -> list[float]:
    if tune := config["tasks"][task].get("tune"):
        return tuning.search(tune, run)["learning_rate"]
    entry = config["presets"][task][preset]
    found = entry["all"] | entry.get("methods", {}).get(run.split("/")[0], {})
    return [one["learning_rate"] for one in entry.get("datasets", {}).values()] or [found["learning_rate"]]


def test_the_ranges_to_start_from_are_those_of_the_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paper = paper_config()
    compared = overlays.merged(paper, *map(overlays.read, COMPARISON))
    demo = overlays.merged(paper, overlays.read(COMPARISON[0]))
    vera = overlays.merged(demo, overlays.read(ROOT / "config/demo/tune.yaml"))
    both_sides = overlays.merged(compared, overlays.read(ROOT / "config/demo/comparison_c.yaml"))
    small = {"vera/r256": (vera, ""), "head/linear": (demo, "demo")}
    small |= dict.fromkeys(("hra/r4-two-sided", "hra/r4-two-sided-magnitudes"), (both_sides, ""))
    texts = overlays.merged(paper, *project("glue", False))
    (tmp_path / "reviews").rename("texts")
    questions = overlays.merged(paper, *project("math", False))
    assert len(RANGES) == 8
    for listed, *cells in RANGES:
        smallest, deberta, llama = (list(map(float, re.findall(r"[\d.]+e-\d", cell))) for cell in cells)
        for run in re.findall(r"`(.*?)`", listed):
            assert run in grid.every_run(paper)  # as a grid takes it
            config, preset = small.get(run, (compared, ""))
            assert smallest == ends(config, "glue", run, preset), run
            if deberta:
                assert deberta == (ends(paper, "glue", run, "full") if run == "full/all" else ends(texts, "glue", run))
            if llama:
                preset = {"full/all": "full", "oft/b16": "boft-paper", "boft/m2b8": "boft-paper"}.get(run, "")
                assert llama == ends(paper if preset else questions, "math", run, preset), run
    for run, name in (("hra/r8", "code-head"), ("lora/r8", "adalora-scripts")):
        (low, high), (least, most) = ends(paper, "glue", run, name), ends(texts, "glue", run)
        assert least <= low <= high <= most
    for name in ("boft-paper", "pissa-paper"):
        (rate,), (least, most) = ends(paper, "math", "lora/r8", name), ends(questions, "math", "lora/r8")
        assert least <= rate <= most


@pytest.mark.parametrize("name", RUNS)
def test_an_example_plans_its_runs_only(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = project("control", name="rooms") if name == "hint" else []  # this example changes a project
    (tmp_path / "my_hints.py").write_text(BLOCKS["my_hints.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    config, chosen = merged(*changed, yaml.safe_load(BLOCKS[name]))
    assert chosen == [TASKS[name]]
    assert len(grid.runs(config, TASKS[name])) == RUNS[name]


def test_the_question_is_as_a_project_reads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = project("math")[-1]["datasets"]["math"]["reviews"]
    (line,) = FILES["questions/data/train.jsonl"].splitlines()
    assert json.loads(line).keys() == {*entry["columns"].values()}
    assert answers.gold(entry["answer"], json.loads(line)[entry["columns"]["answer"]]) == "32"


def test_the_page_names_all_models_that_generate_images():
    for one in diffusion.ARCHITECTURES.values():
        assert one.title in " ".join(SECOND.split())


def test_the_function_of_the_control_signal():
    names: dict = {}
    exec(BLOCKS["my_hints.py"], names)
    hint = names["contrast"](Image.linear_gradient("L").convert("RGB"), None)
    assert hint.shape == (256, 256) and hint.dtype == numpy.float64
    assert 0 <= hint.min() < hint.max() <= 1
