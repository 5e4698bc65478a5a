"""What a config file implies without stating it: tasks, columns that were replaced, files that it extends."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.config import overlays
from hra_workflow.core import grid
from hra_workflow.core.errors import JobError
from hra_workflow.cost import plan
from hra_workflow.tasks.columns import unshown
from support import ROOT, merged, paper_config

ONE_RUN = [{"runs": ["hra/r8"], "datasets": ["cola"], "seeds": [0]}]
COLUMNS = [{"name": "Mine", "dataset": "cola", "benchmark": "validation", "metric": "accuracy"}]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ([], ["control", "glue", "math", "subject"]),
        ([{"tasks": {"math": {"grid": []}}}, {"tasks": {"glue": {"grid": ONE_RUN}}}], ["glue"]),
    ],
)
def test_the_last_file_with_a_grid_chooses_the_tasks(files, chosen):
    config = paper_config()
    assert overlays.finish_merge(config, files) == chosen


def test_of_a_preset_the_most_specific_value_wins():
    """The parts of a preset, from the least specific: each one sets its own value and those of all after it."""
    config = paper_config()
    preset = {"all": {}, "methods": {"lora": {}, "lora/r8": {}}, "datasets": {"cola": {}}}
    config["presets"]["glue"]["mine"] = preset
    parts = [preset["all"], preset["methods"]["lora"], preset["methods"]["lora/r8"], preset["datasets"]["cola"]]
    for number, part in enumerate([config["tasks"]["glue"]["defaults"], *parts]):
        part |= {f"of {one}": number for one in range(number, 5)}
    config["tasks"]["glue"]["preset"] = "mine"
    values = grid.hyperparameters(config, "glue", "cola", "lora/r8")
    assert [values[f"of {number}"] for number in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("columns", "warned"), [(COLUMNS, True), ([{**COLUMNS[0], "dataset": None}], False)])
def test_a_dataset_of_the_grid_without_a_column_is_a_warning_of_the_plan(columns, warned):
    columns = [{key: value for key, value in column.items() if value} for column in columns]  # without: of every one
    blocks = [{**ONE_RUN[0], "datasets": ["qqp"]}]
    config, _ = merged({"tasks": {"glue": {"grid": blocks, "columns": columns}}})
    texts = [text for text in plan.warnings(config, ["table_glue"], []) if "no column of tasks.glue.columns" in text]
    assert len(texts) == warned
    if warned:
        assert "shows qqp, so its runs are in no table" in texts[0]
        suggested = yaml.safe_load(texts[0].partition("Add ")[2])
        fixed, _ = merged({"tasks": {"glue": {"grid": blocks, "columns": [suggested]}}})
        assert unshown(tasks.load(fixed)["glue"]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {glue: {}}\nmodels: {}\ntasks: {math: null}", r"own.yaml: expected every key once, found 'tasks'"),
        ("tasks: {glue: {columns: [{name: A, name: B}]}}", r"own.yaml: tasks.glue.columns.0: .* found 'name' more"),
        ("a: &a {b: 1}\nc: {<<: *a, b: 2}\nd: *a", None),
    ],
)
def test_a_key_is_stated_once(tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(JobError, match=message) if message else nullcontext():
        overlays.check_written(tmp_path / "own.yaml")


def written(folder: Path, **files) -> None:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def test_a_file_is_merged_over_those_that_it_extends(tmp_path):
    below = tmp_path / "mine"
    below.mkdir()
    written(tmp_path, base={"card": "a100", "incomplete": True}, other={"extends": "base.yaml", "card": "l40s"})
    written(below, config={"extends": ["../base.yaml", "config/demo/quick.yaml"], "report_to": ["mlflow"]})
    files = overlays.with_extended([tmp_path / "other.yaml", below / "config.yaml"], overlays.read)
    # Once, and first: after other.yaml, base.yaml would replace its values. The shipped file: of the workflow's folder.
    assert [path.resolve() for path, _ in files] == [
        *(tmp_path / name for name in ("base.yaml", "other.yaml")),
        ROOT / "config/demo/quick.yaml",
        below / "config.yaml",
    ]
    result = overlays.merged(*(content for _, content in files))
    assert (result["card"], result["incomplete"], result["report_to"]) == ("l40s", True, ["mlflow"])
    assert "extends" not in result and result["tasks"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"mine": {"extends": "nothing.yaml"}}, r"mine\.yaml: extends: .* 'nothing\.yaml', found neither .* nor "),
        ({"mine": {"extends": "b.yaml"}, "b": {"extends": "b.yaml"}}, r"b\.yaml: .* found \S+/b\.yaml → \S+/b\.yaml\."),
    ],
)
def test_files_that_cannot_be_extended(tmp_path, files, message):
    written(tmp_path, **files)
    with pytest.raises(JobError, match=message):
        overlays.with_extended([tmp_path / "mine.yaml"], overlays.read)
