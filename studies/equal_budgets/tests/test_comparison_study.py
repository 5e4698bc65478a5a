"""The configs and commands of the comparison, and the numbers of its results on other pages."""

import re

import pytest

from hra_workflow.commands import new
from hra_workflow.commands.project import Project as Command
from hra_workflow.config import overlays, validation
from hra_workflow.core import grid, tuning
from studies.equal_budgets import collect, page
from support import ROOT, paper_config

CONFIGS = "studies/equal_budgets/config"
DEMO = ["config/demo/config.yaml", "config/demo/real_data.yaml"]
FIRST = (ROOT / "docs/your-own.md").read_text()
RANGES = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", FIRST.partition("|:--|")[2], re.MULTILINE)


def file(study: str) -> str:
    return f"{CONFIGS}/{study}.yaml"


def contents(*names: str) -> list[dict]:
    """Return the contents of config files and of those that they extend, in the order in which they are merged."""
    return [content for _, content in overlays.with_extended([ROOT / name for name in names], overlays.read)]


def read(*names: str) -> dict:
    return overlays.merged(paper_config(), *contents(*names))


@pytest.mark.parametrize("study", collect.STUDIES)
def test_a_part_is_a_valid_config_of_its_tasks_over_that_of_the_demo_on_real_data(study, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = [*DEMO, *(file(name) for name in sorted({"comparison", study}))]
    own = contents(file(study))
    assert own == contents(*names)
    config = overlays.merged(paper_config(), *own)
    overlays.finish_merge(config, own)
    validation.check(config)
    assert [*Command((file(study),)).tables()] == ["glue", "math"]


def ends(config: dict, task: str, run: str, preset: str = "") -> list[float]:
    """Return the lowest and the highest learning rate of a run's trials, or of a preset; one if they are equal."""
    return sorted({min(found := rates(config, task, run, preset)), max(found)})


def rates(config: dict, task: str, run: str, preset: str) -> list[float]:
    if tune := config["tasks"][task].get("tune"):
        return tuning.search(tune, run)["learning_rate"]
    entry = config["presets"][task][preset]
    found = entry["all"] | entry.get("methods", {}).get(run.split("/")[0], {})
    return [one["learning_rate"] for one in entry.get("datasets", {}).values()] or [found["learning_rate"]]


def test_the_ranges_of_your_own_page_are_those_of_the_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paper = paper_config()
    compared = read(file("comparison_b"))
    demo, vera = read(DEMO[0]), read(DEMO[0], "config/demo/tune.yaml")

    def project(task: str) -> list[dict]:
        """Return the files of a new project."""
        made = new.make("reviews", task, False)
        return [content for _, content in overlays.with_extended([made], overlays.read)]

    small = {"vera/r256": (vera, ""), "head/linear": (demo, "demo")}
    texts = overlays.merged(paper, *project("glue"))
    (tmp_path / "reviews").rename("texts")
    questions = overlays.merged(paper, *project("math"))
    assert len(RANGES) == 7
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


def solved(run: str, study: str) -> str:
    runs = collect.read(study, "runs").set_index(["set", "run"])
    return f"{runs.loc[[('word problems', run)], 'score'].mean():.0f}"


def test_the_readme_has_the_solved_problems():
    parts = ("comparison", "comparison_b", "comparison_e")
    (hra,) = {solved("hra/r8", study) for study in ("comparison", "comparison_e")}
    lora = sorted({solved("lora/r4-alpha8", study) for study in parts})
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"it solves {hra} %, LoRA {lora[0]} to {lora[-1]} %." in text
    other = " and ".join(solved(run, "comparison_e") for run in (page.BOTH_SIDES, page.FROZEN))
    assert f"solve {other} % there" in text
    rows = collect.read("comparison_e", "contrasts").set_index(["set", "run", "other"])
    verdicts = {key: page.verdict(row) for key, row in rows.iterrows()}
    assert verdicts["SST-2", page.BOTH_SIDES, "lora/r4-alpha8"] == "worse"
    assert verdicts["MRPC", page.FROZEN, "lora/r4-alpha8"] == "undecided"


def test_the_learning_rates_to_start_with_are_those_of_the_searches():
    chosen: dict[str, list[float]] = {}
    for study in ("comparison", "comparison_b"):
        for _, row in collect.read(study, "trials").query("chosen").iterrows():
            if "pissa" not in row["run"]:
                chosen.setdefault(row["run"].partition("/")[0], []).append(row["learning_rate"])
    page = (ROOT / "docs/your-own-code.md").read_text()
    documented = re.search(r"chose (\S+) to (\S+) for HRA and (\S+) to (\S+) for LoRA", page).groups()
    assert [*map(float, documented)] == [end(chosen[name]) for name in ("hra", "lora") for end in (min, max)]
