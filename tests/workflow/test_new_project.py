"""`hra-workflow new`: a folder with a config and examples for each task; planned, and all is written to the folder."""

import re

import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.commands import new as new_project
from hra_workflow.commands.main import main
from hra_workflow.config import overlays, validation
from hra_workflow.core import tuning
from hra_workflow.report import searches
from hra_workflow.tasks import tuned_runs
from support import ROOT, paper_config

TRAINED = {"glue": 14, "subject": 2}  # of those tuned: 6, and 2 × 4 trials
EACH = [(task, demo) for task in new_project.TEMPLATES for demo in (True, False)]


def complete(path) -> tuple[dict, list[str]]:
    """Return the checked config of a project, and the tasks that `all` makes."""
    read = [content for _, content in overlays.with_extended([path], overlays.read)]
    config = overlays.merged(paper_config(), *read)
    chosen = overlays.finish_merge(config, read)
    validation.check(config)
    return config, chosen


@pytest.mark.slow
@pytest.mark.parametrize("task", ["glue", "subject"])
def test_a_demo_project_plans_its_examples_and_writes_to_its_folder_only(fresh, tmp_path, monkeypatch, task):
    project = fresh.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    assert str(new_project.make("mine", task, demo=True)) == "mine/config.yaml"
    printed = project.snakemake("-n", "--cores", "1", "--configfile", "mine/config.yaml", "--", "all")
    written = re.findall(r"^    (?:output|log): (.*)", printed, re.MULTILINE)
    assert len(written) > 10 and all(path.startswith("mine/") for paths in written for path in paths.split(", "))
    assert re.search(rf"^table_{task}: .* including {TRAINED[task]} training runs", printed, re.MULTILINE)
    assert "  warning:" not in printed


@pytest.mark.parametrize(("task", "demo"), EACH)
def test_a_project_is_of_its_task_only_with_the_model_of_the_demo_or_the_paper(tmp_path, monkeypatch, task, demo):
    monkeypatch.chdir(tmp_path)
    config, chosen = complete(new_project.make("mine", task, demo))
    demo_config = overlays.read(ROOT / new_project.DEMO)
    assert chosen == [task]
    assert config["tasks"][task]["model"] == (demo_config if demo else paper_config())["tasks"][task]["model"]
    assert {run["dataset"] for run in tasks.load(config)[task].runs()} == {"mine"}
    stated = yaml.safe_load((tmp_path / "mine/config.yaml").read_text())
    if tune := stated["tasks"][task].get("tune"):  # as many values over the same factor
        lists = [tuning.search(tune, run)["learning_rate"] for run in ("hra/r8", "lora/r8")]
        assert len({(len(one), max(one) / min(one)) for one in lists}) == 1


@pytest.mark.parametrize("demo", [True, False])
def test_a_new_project_compares_runs_of_equal_searches_unless_the_key_turns_them_off(tmp_path, monkeypatch, demo):
    monkeypatch.chdir(tmp_path)
    config, _ = complete(new_project.make("reviews", demo=demo))
    values = config["presets"]["glue"]["mine"]["all"]
    assert values["eval_steps"] * values["epochs"] == 1  # an evaluation per epoch, whatever the number of rows
    for tune, words in ((config["tasks"]["glue"]["tune"], ""), (None, "rates not tuned")):
        config["tasks"]["glue"]["tune"] = tune
        validation.check(config)
        (own,) = tuned_runs.searches(tasks.load(config)["glue"]).values()
        found = searches.Searches({"reviews": own}, {"reviews": ["reviews"]}).between("hra/r8", "lora/r8", "reviews")
        assert found == words
        assert len({one["settings"]["head_learning_rate"] for one in own.values()}) == 1


@pytest.mark.parametrize(
    "name",
    ["demo", "results", "there", "a/b", "..", "-n", "my project", "yes", "12", "cola"],
)
def test_names_that_cannot_be_used(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert main(["new", "--", name]) == 2
    assert re.search("expected (a|the) name of .*, found ", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
