"""docs/your-own.md: every example is a valid config of one task, its data are read, its function works."""

import re

import numpy
import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config

import download
import rule_jobs
from hra_workflow.config import overlays, validation
from hra_workflow.core import files
from support import ROOT, paper_config

PAGE = (ROOT / "docs/your-own.md").read_text()
BLOCKS = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
RUNS = {"questions": 2, "model": 1, "method": 6, "subject": 1, "hint": 2}
TASKS = {
    "questions": "math",
    "model": "math",
    "method": "glue",
    "subject": "subject",
    "hint": "control",
}


def merged(name: str) -> tuple[dict, list[str]]:
    """Return the checked config with an example, as the Snakefile sees it, and the tasks that `all` makes."""
    config, example = paper_config(), yaml.safe_load(BLOCKS[name])
    update_config(config, example)
    chosen = overlays.settle(config, [example])
    validation.check(config)
    return config, chosen


def test_the_page_has_these_examples():
    configs = {name for name in BLOCKS if "." not in name}
    assert configs == RUNS.keys() == TASKS.keys()


@pytest.mark.parametrize("name", RUNS)
def test_an_example_plans_its_runs_only(name, tmp_path, monkeypatch):
    from hra_workflow import tasks

    (tmp_path / "my_hints.py").write_text(BLOCKS["my_hints.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    config, chosen = merged(name)
    assert chosen == [TASKS[name]]
    assert len(tasks.load(config)[TASKS[name]].runs()) == RUNS[name]


@pytest.mark.parametrize(
    ("name", "dataset", "file", "rows"),
    [("questions", "mine", "questions/train.jsonl", 1)],
)
def test_the_data_of_an_example_are_read(name, dataset, file, rows, tmp_path):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(BLOCKS[file])
    config, (task,) = merged(name)
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
