"""docs/extending.md: its configs are valid, its classes work; in a copy of the workflow, tests/fifth_task is a task."""

import copy
import json
import re
import shutil
import sys

import pandas
import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config

from hra_workflow import tasks
from hra_workflow.commands import main
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import registry
from hra_workflow.tasks import columns
from hra_workflow.tasks.math import answers, graders
from project import Project
from support import ROOT, merged, paper_config, put

PAGE = (ROOT / "docs/extending.md").read_text()
FIFTH = ROOT / "tests/fifth_task"
NAME = "my_metrics:mean_distance"
TARGETS_OF_TASK = ("results/table_tones.csv", "results/figures/tones_parameters.png")
RUNS_OF_TASK = ("full variant=all", "lora variant=r8", "hra variant=r8")


def blocks(section: str, language: str) -> list[str]:
    part = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """Return a function that puts the module of a section on the path, under the name in its first line."""

    def write(section: str) -> None:
        (text,) = blocks(section, "python")
        name = text.split('"""')[1]
        (tmp_path / name).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)

    return write


@pytest.fixture
def reviews(importable) -> dict:
    """Return the page's config with a metric of texts, whose module is importable."""
    importable("A metric of texts")
    config = paper_config()
    update_config(config, yaml.safe_load(*blocks("A metric of texts", "yaml")))
    return config


@pytest.mark.parametrize("section", ["A dataset", "A metric of answers"])
def test_a_config_of_the_page_plans_its_runs_and_shows_them(section, importable):
    if blocks(section, "python"):
        importable(section)
    for text in blocks(section, "yaml"):
        config, (name,) = merged(yaml.safe_load(text))
        task = tasks.load(config)[name]
        (block,) = config["tasks"][name]["grid"]
        assert len(task.runs()) == len(block["runs"]) * len(block["seeds"]) and columns.unshown(task) == []


def test_the_grader_of_the_page_grades_beside_the_others(importable):
    importable("A metric of answers")
    name = "my_graders:nearly"
    assert answers.grade("gsm8k", "The answer is: 17", "18", [name])[name] == {"answer": "17", "right": True}
    for output, right in (("The answer is: 16", False), ("I do not know.", False)):
        graded = answers.grade("gsm8k", output, "18", ["strict", name])
        assert graded[name]["right"] == right and graded.keys() == {*graders.GRADERS, name}
    config, _ = merged(yaml.safe_load(*blocks("A metric of answers", "yaml")))
    versions = tasks.load(config)["math"].graders("metamathqa-40k")
    assert versions == {"official": 1, "strict": 3, "lenient": 2, name: 1}


def test_the_evaluator_of_the_page_is_accepted_by_the_config_and_scores(importable):
    importable("An image metric")
    stated = yaml.safe_load(*blocks("An image metric", "yaml"))
    *others, entry = stated["tasks"]["subject"]["evaluation"]["evaluators"]
    assert others == paper_config()["tasks"]["subject"]["evaluation"]["evaluators"]
    put(stated, "tasks.subject.columns", [{"name": "B", "benchmark": "prompts", "metric": "brightness_mean"}])
    merged(stated)
    evaluator = registry.find(entry["kind"])(entry, None, "cpu")
    assert evaluator.score([Image.new("RGB", (2, 2), "white")], None).images == {"_mean": [255.0]}


def test_a_custom_metric_is_checked_by_the_dry_run_and_its_version_is_recorded(reviews):
    validation.check(reviews)
    glue = tasks.load(reviews)["glue"]
    evaluated = glue.evaluated_on("reviews", "validation")
    trained, also = (of("reviews", "hra/r8") for of in (glue.trained_on, glue.evaluated_in_training))
    assert also.pop("benchmarks") and evaluated == trained | also  # so training's results are taken over
    assert evaluated["versions"] == trained["versions"] == {NAME: 1}
    assert "versions" not in glue.evaluated_on("cola", "validation")
    for key, wrong, message in (
        ("datasets.glue.reviews.score", "my_metrics:mean", f"unknown metric 'my_metrics:mean'; known: .*{NAME}"),
        ("datasets.glue.reviews.metrics", ["my_metrics:distance"], "expected a hra_workflow.tasks.metric.Metric, fou"),
        ("datasets.glue.reviews.metrics", ["my_metrics:mean"], "expected 'mean' in module my_metrics, found Metric, "),
        ("datasets.glue.reviews.metrics", ["my_metric:mean"], "metrics: .* no module my_metric. Correct the name, or"),
        ("tasks.glue.columns.0.better", "higher", "Distance: expected better: lower, since lower values of"),
    ):
        config = copy.deepcopy(reviews)
        put(config, key, wrong)
        with pytest.raises(JobError, match=message):
            validation.check(config)


def test_a_package_adds_a_command(tmp_path, monkeypatch, capsys):
    ((name, value),) = re.findall(r'(\w+) = "(\S+)"', *blocks("A command", "toml"))
    (code,) = blocks("A command", "python")
    texts = {"METADATA": "Name: my_package\nVersion: 1\n", "entry_points.txt": f"[{main.COMMANDS}]\n{name} = {value}\n"}
    texts = {f"my_package-1.dist-info/{file}": text for file, text in texts.items()}
    for file, text in (texts | {"my_package/commands.py": code, "results/glue/train.json": "{}"}).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(main.commands, "commands", dict(main.commands.commands))
    assert main.main(["--help"]) == 0 and "count the records in a folder of results" in capsys.readouterr().out
    assert main.main([name, str(tmp_path / "results")]) == 0 and capsys.readouterr().out == "1\n"
    assert main.main([name, "gone"]) == 2
    assert "'gone' does not exist. (hra-workflow count --help)" in capsys.readouterr().err


@pytest.fixture
def extended(tmp_path) -> Project:
    """Set up the workflow with the files of the fifth task, which replace none and are those that the page lists."""
    project, files = Project.fresh(tmp_path / "project"), [path for path in FIFTH.rglob("*.*") if path.is_file()]
    names = [path.relative_to(FIFTH) for path in files if "__pycache__" not in path.parts]
    assert not any((project.folder / name).exists() for name in names)
    assert all(f"`{name.parent.as_posix()}/" in PAGE for name in names)
    shutil.copytree(FIFTH, project.folder, dirs_exist_ok=True)
    project.link_library()
    return project


def test_a_fifth_task_is_planned_by_the_stages_of_its_rules(extended):
    """A site's accounts and QOS by stage hold for them, too (profiles/slurm)."""
    plan = extended.plan(*TARGETS_OF_TASK, config="config/tones/task.yaml")
    assert plan["train_tones"] == {f"task=tones dataset=noisy method={run} seed=0" for run in RUNS_OF_TASK}
    output = extended.snakemake("-n", "--cores", "1", "--", *TARGETS_OF_TASK)
    stages = dict(re.findall(r"^rule (\w+_tones):\n(?:    .*\n)*?    resources: .*stage=(\w+)", output, re.MULTILINE))
    assert stages["train_tones"] == "train" and stages["evaluate_tones"] == "evaluate", output
    assert re.search(r"table_tones: \d+ jobs \(0 done\), including 3 training runs, 3 evaluations", output)
    wrong = ("--config", "tasks={tones: {sedes: [1]}}")
    assert "tasks.tones.sedes: unknown key" in extended.snakemake("-n", *wrong, "--", TARGETS_OF_TASK[0], ok=False)


@pytest.mark.full
def test_a_fifth_task_makes_its_table_and_figures(extended):
    extended.snakemake("--cores", "2", "-q", "rules", "--", *TARGETS_OF_TASK)
    table = pandas.read_csv(extended.folder / TARGETS_OF_TASK[0]).set_index("run")
    chance = 100 / 4
    assert {*table.index} == {"full/all", "lora/r8", "hra/r8"} and (table["Pitch"] > 2 * chance).all()
    record = json.loads((extended.folder / "results/tones/noisy/hra/r8/seed0/train.json").read_text())
    assert record["task"] == "tones" and record["status"] == "ok" and record["steps"] == 5 * 512 // 32
    assert (extended.folder / TARGETS_OF_TASK[1]).stat().st_size > 10_000
