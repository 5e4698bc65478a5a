"""`make new`: a folder with a config; a user's own texts are planned from it, and all is written to that folder."""

import re
import subprocess

import pytest
import yaml
from snakemake.utils import update_config

import new_project
from hra_workflow import tasks
from hra_workflow.config import overlays, validation
from hra_workflow.core import tuning
from hra_workflow.report import searches
from hra_workflow.tasks import tuned_runs
from support import ROOT, paper_config

CSV = 'text,label\na fine film,positive\n"slow, and far too long",negative\n'


def test_a_new_project_plans_its_own_files_only(fresh, tmp_path, monkeypatch):
    project = fresh.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    assert str(new_project.make("reviews", demo=True)) == "reviews/config.yaml"
    options = ("-n", "--cores", "1", "--configfile", "reviews/config.yaml", "--", "all")
    missing = project.snakemake(*options, ok=False)
    assert f"No file {project.folder}/reviews/data/train.csv." in " ".join(missing.split())
    for split in ("train", "dev"):
        (project.folder / f"reviews/data/{split}.csv").write_text(CSV)
    printed = project.snakemake(*options)
    written = re.findall(r"^    (?:output|log): (.*)", printed, re.MULTILINE)
    assert len(written) > 10 and all(path.startswith("reviews/") for paths in written for path in paths.split(", "))
    assert "reviews/resources/models/minilm-l6.manifest.json" in printed
    assert re.search(r"^table_glue: .* including 14 training runs", printed, re.MULTILINE)  # 6, and 2 × 4 first trials
    assert "  trials:   of glue, 4 for each of 2 runs, as much training as 2.5 more seeds; those of later" in printed


def test_a_project_without_the_demo_has_the_paper_s_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, stated = paper_config(), yaml.safe_load(new_project.make("reviews").read_text())
    update_config(config, stated)
    assert overlays.finish_merge(config, [stated]) == ["glue"] and config["tasks"]["glue"]["model"] == "deberta-v3-base"
    validation.check(config)


@pytest.mark.parametrize("demo", [True, False])
def test_a_new_project_compares_runs_of_equal_searches_unless_the_key_turns_them_off(tmp_path, monkeypatch, demo):
    monkeypatch.chdir(tmp_path)
    config, stated = paper_config(), yaml.safe_load(new_project.make("reviews", demo=demo).read_text())
    update_config(config, stated)
    overlays.finish_merge(config, [stated])
    for tune, words in ((config["tasks"]["glue"]["tune"], ""), (None, "a difference at the settings of preset mine")):
        config["tasks"]["glue"]["tune"] = tune
        validation.check(config)
        (own,) = tuned_runs.searches(tasks.load(config)["glue"]).values()
        found = searches.Searches({"mine": own}, {"reviews": ["mine"]}).between("hra/r8", "lora/r8", "reviews")
        assert found.startswith(words) and bool(words) == bool(found)
        assert len({one["settings"]["head_learning_rate"] for one in own.values()}) == 1
    lists = [tuning.search(stated["tasks"]["glue"]["tune"], run)["learning_rate"] for run in ("hra/r8", "lora/r8")]
    assert len({(len(one), max(one) / min(one)) for one in lists}) == 1  # as many values over the same factor


@pytest.mark.parametrize("name", ["demo", "results", "there", "a/b", "..", "-n", "my project", "it's", "_x"])
def test_names_that_cannot_be_used(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for linked in ("Makefile", "workflow"):  # make -f takes no path with a space
        (tmp_path / linked).symlink_to(ROOT / linked)
    done = subprocess.run(["make", "-o", ".venv/.installed", "new", f"NAME={name}"], capture_output=True, text=True)
    assert done.returncode and re.search("expected (a|the) name of .*, found ", done.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"there", "Makefile", "workflow"}
