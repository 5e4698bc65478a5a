"""docs/your-own.md: every example is a valid config of one task, its data are read, its function works.

workflow/test_your_own_walk.py runs the commands of its first part.
"""

import re

import numpy
import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config

import download
import new_project
import rule_jobs
from hra_workflow.config import overlays, validation
from hra_workflow.core import files, tuning
from support import ROOT, paper_config
from test_overlays import merged

PAGE = (ROOT / "docs/your-own.md").read_text()
BLOCKS = dict(re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
FILES = dict(re.findall(r"`(\S+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))  # the name of a data file precedes it
RUNS = {"questions": 2, "model": 1, "method": 6, "subject": 1, "flux2": 2, "hint": 3}
TUNE = yaml.safe_load(BLOCKS["tune"])
TASKS = {
    "questions": "math",
    "model": "math",
    "method": "glue",
    "subject": "subject",
    "flux2": "subject",
    "hint": "control",
}


def test_the_page_has_these_examples():
    configs = {name for name in BLOCKS if "." not in name}
    assert configs - {"tune"} == RUNS.keys() == TASKS.keys()


def test_the_search_of_the_page_replaces_that_of_a_new_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = yaml.safe_load(new_project.make("reviews", demo=True).read_text())
    overlay = made | {"tasks": {"glue": made["tasks"]["glue"] | TUNE["tasks"]["glue"]}}
    config, _ = merged(overlay)
    assert len(tuning.trials(config["tasks"]["glue"]["tune"], "oft/b16")) == 4


def test_the_demo_s_models_serve_the_other_tasks(tmp_path, monkeypatch):
    (tmp_path / "my_hints.py").write_text(BLOCKS["my_hints.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    demo = yaml.safe_load((ROOT / "config/demo/config.yaml").read_text())
    for name in ("questions", "subject", "hint"):
        # The page says which evaluator the demo has.
        config, example = paper_config(), yaml.safe_load(BLOCKS[name].replace("[fid]", "[canny]"))
        for overlay in (demo, example):
            update_config(config, overlay)
        assert overlays.finish_merge(config, [demo, example]) == [TASKS[name]]
        if name == "hint":
            config["tasks"]["control"]["columns"][0]["metric"] = "canny_iou"
        validation.check(config)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_plans_its_runs_only(name, tmp_path, monkeypatch):
    from hra_workflow import tasks

    (tmp_path / "my_hints.py").write_text(BLOCKS["my_hints.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    config, chosen = merged(yaml.safe_load(BLOCKS[name]))
    assert chosen == [TASKS[name]]
    assert len(tasks.load(config)[TASKS[name]].runs()) == RUNS[name]


@pytest.mark.parametrize(
    ("name", "dataset", "file", "rows"),
    [("questions", "mine", "questions/train.jsonl", 1)],
)
def test_the_data_of_an_example_are_read(name, dataset, file, rows, tmp_path):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(FILES[file])
    config, (task,) = merged(yaml.safe_load(BLOCKS[name]))
    entry, manifest = config["datasets"][task][dataset], tmp_path / "made.manifest.json"
    given = {"name": dataset, "local_root": str(tmp_path), "dataset": entry}
    download.main(rule_jobs.download("dataset", manifest, entry["source"], **given))
    assert files.read_json(manifest)["rows"] == dict.fromkeys(entry["splits"], rows)


def test_the_function_of_the_control_signal():
    names: dict = {}
    exec(BLOCKS["my_hints.py"], names)
    hint = names["contrast"](Image.linear_gradient("L").convert("RGB"), None)
    assert hint.shape == (256, 256) and hint.dtype == numpy.float64
    assert 0 <= hint.min() < hint.max() <= 1
