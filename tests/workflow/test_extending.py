"""docs/extending.md: its configs are valid, its classes work; its files, in a copy of the workflow, are a task."""

import copy
import inspect
import json
import re
import sys

import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config

import evaluate_glue
import schema_keys
from hra_workflow import tasks
from hra_workflow.commands import main
from hra_workflow.config import overlays, validation
from hra_workflow.core import files, grid
from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import registry
from hra_workflow.tasks import columns
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.math import answers, graders
from project import Project
from rule_jobs import train
from support import ROOT, SETTINGS, TARGETS, TINY_MODEL, merged, method, paper_config, put, write_sentences

PAGE = (ROOT / "docs/extending.md").read_text()
MINE = {
    "local_root": "data",
    "models": {"tiny": {"source": TINY_MODEL, "head": ["classifier"], "targets": {"paper": TARGETS}}},
    "presets": {"intents": {"tiny": {"source": "test", "all": SETTINGS}}},
    "tasks": {
        "intents": {
            "model": "tiny",
            "preset": "tiny",
            "grid": [{"runs": ["full/all", "hra/r8"], "datasets": ["assistant"], "seeds": [0]}],
            "resources": {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10},
        }
    },
}
NAME = "my_metrics:mean_distance"
TARGETS_OF_TASK = ("results/table_intents.csv", "results/figures/intents_parameters.png")


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


def test_every_glue_dataset_that_the_page_lists_is_in_the_config():
    (listed,) = re.findall(r"All eight GLUE datasets of the paper \((.*?)\)", PAGE)
    names = {name.lower().replace("-", "") for name in listed.split(", ")}
    config = paper_config()
    assert names == {*grid.datasets(config, "glue")} <= config["datasets"]["glue"].keys() and len(names) == 8


@pytest.mark.slow
def test_the_new_dataset_of_the_page_is_planned_as_its_file_stands(fresh, tmp_path):
    (tmp_path / "mine.yaml").write_text(blocks("A dataset", "yaml")[1])
    plan = fresh.plan(config=str(tmp_path / "mine.yaml"))
    runs = {f"task=glue dataset=wnli method={method} variant=r8 seed={s}" for method in ("lora", "hra") for s in "012"}
    assert plan["train_glue"] == runs and "warning: " not in fresh.printed


def test_the_grader_of_the_page_grades_beside_the_others(importable):
    importable("A metric of answers")
    name = "my_graders:nearly"
    assert answers.grade("gsm8k", "The answer is: 17", "18", [name])[name] == {"answer": "17", "right": True}
    for output, right in (("The answer is: 16", False), ("I do not know.", False)):
        graded = answers.grade("gsm8k", output, "18", ["strict", name])
        assert graded[name]["right"] == right and graded.keys() == {*graders.GRADERS, name}
    config, _ = merged(yaml.safe_load(*blocks("A metric of answers", "yaml")))
    versions = tasks.load(config)["math"].graders("metamathqa-40k")
    assert versions == {"official": 1, "strict": 1, "lenient": 1, name: 1}


def test_the_evaluator_of_the_page_is_accepted_by_the_config_and_scores(importable):
    importable("An image metric")
    stated = yaml.safe_load(*blocks("An image metric", "yaml"))
    *others, entry = stated["tasks"]["subject"]["evaluation"]["evaluators"]
    assert others == paper_config()["tasks"]["subject"]["evaluation"]["evaluators"]
    stated["tasks"]["subject"]["columns"] = [
        {"name": "Brightness", "benchmark": "prompts", "metric": "brightness_mean"}
    ]
    merged(stated)
    evaluator = registry.find(entry["kind"])(entry, None, "cpu")
    assert evaluator.score([Image.new("RGB", (2, 2), "white")], None).images == {"_mean": [255.0]}


def test_the_lines_of_the_smallest_method_are_those_of_the_code():
    files = ((ROOT / name).read_text() for name in ("workflow/hra_workflow/methods/__init__.py", "config/methods.yaml"))
    for text, change in zip(files, blocks("A method", "diff"), strict=True):
        assert not [line for line in change.splitlines() if line[1:] not in text.splitlines()]


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


def test_the_best_checkpoint_has_the_lowest_value_of_a_metric_whose_lower_values_are_better(reviews, make_run):
    run = make_run(method("head"), learning_rate=0.1)
    run.dataset |= {"metrics": ["accuracy", NAME], "score": NAME}
    record = train(run)
    scores = {point["step"]: point["metrics"][NAME] for point in record["curve"]}
    assert scores[record["best_step"]] == min(scores.values()) < max(scores.values())
    evaluate_glue.main(run.evaluate)
    found = files.read_json(run.evaluate["output"]["metrics"])["selections"]["best_on_dev"]["metrics"]
    assert found[NAME]["value"] == min(scores.values()) and found[NAME]["stderr"] > 0


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
    """Set up the workflow with the files of the page, and a config that makes them small."""
    project = Project.fresh(tmp_path / "project")
    existing = {path for path in project.folder.rglob("*") if path.is_file()}
    files = re.findall(r"```\w+\n(?:#|//|\.\.) (\S+)\n(.*?)```", PAGE.partition("## A command")[0], re.DOTALL)
    added = {project.folder / path: text for path, text in files}
    added[project.folder / "workflow/hra_workflow/tasks/intents/__init__.py"] = ""
    for path, text in added.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert len(added) == 8 and not existing & added.keys()
    project.link_library()
    (project.folder / "data").mkdir()
    write_sentences(project.folder / "data/intents")
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(MINE))
    return project


def test_the_schema_of_a_fifth_task_describes_every_key():
    (text,) = (block for block in blocks("A task", "yaml") if "schema.yaml" in block.partition("\n")[0])
    assert list(schema_keys.problems(overlays.merged(validation.written(), yaml.safe_load(text)))) == []


def test_the_docstring_of_a_task_lists_its_facts_and_its_functions_are_few():
    listed = {*re.findall(r"^(\w+): ", inspect.getdoc(Task), re.MULTILINE)}
    assert listed == {*Task.__annotations__}
    assert len({name for name in vars(Task) if not name.startswith("_")} - listed) <= 40


def test_the_jobs_of_a_fifth_task_name_their_stages(extended):
    """A site's accounts and QOS by stage hold for them, too (profiles/slurm)."""
    output = extended.snakemake("-n", "--cores", "1", "--configfile", "mine.yaml", "--", *TARGETS_OF_TASK)
    stages = dict(re.findall(r"^rule (\w+_intents):\n(?:    .*\n)*?    resources: .*stage=(\w+)", output, re.MULTILINE))
    assert stages["train_intents"] == "train" and stages["evaluate_intents"] == "evaluate", output


@pytest.mark.full
def test_a_fifth_task_is_planned_and_makes_its_table_and_figures(extended):
    plan = extended.plan(*TARGETS_OF_TASK, config="mine.yaml")
    runs = {f"task=intents dataset=assistant method={run} seed=0" for run in ("full variant=all", "hra variant=r8")}
    assert plan["train_intents"] == runs
    output = extended.snakemake("-n", "-q", "rules", "--configfile", "mine.yaml", "--", TARGETS_OF_TASK[0])
    assert re.search(r"table_intents: \d+ jobs \(0 done\), including 2 training runs, 2 evaluations", output)
    wrong = ("--config", "tasks={intents: {sedes: [1]}}")
    assert "tasks.intents: 'sedes' is not one of" in extended.snakemake(
        "-n", "--configfile", "mine.yaml", *wrong, "--", TARGETS_OF_TASK[0], ok=False
    )
    extended.snakemake("--cores", "2", "-q", "rules", "--configfile", "mine.yaml", "--", *TARGETS_OF_TASK)
    table = (extended.folder / TARGETS_OF_TASK[0]).read_text()
    assert "Assistant" in table and "best_on_dev" in table and table.count("hra/r8") > 0
    record = json.loads((extended.folder / "results/intents/assistant/hra/r8/seed0/train.json").read_text())
    assert record["task"] == "intents" and record["status"] == "ok"
    assert (extended.folder / TARGETS_OF_TASK[1]).stat().st_size > 10_000
