"""`hra-workflow config` prints every value of the complete config, with the file that it comes from."""

import pytest
from click.testing import CliRunner

from hra_workflow.commands import show_config
from hra_workflow.commands.main import commands
from hra_workflow.core.errors import JobError


def test_every_value_has_the_last_file_that_states_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": "x"}}
    second = {"a": {"c": [3]}, "d": None, "f": {"g": True}}
    show_config.show([(tmp_path / "one.yaml", first), (tmp_path / "two.yaml", second)])
    assert capsys.readouterr().out.splitlines() == [
        "a.b: 1  # one.yaml",
        "a.c: [3]  # two.yaml",
        "d: null  # two.yaml",
        "f.g: true  # two.yaml",
    ]


def test_a_key_selects_itself_and_what_is_below_it(tmp_path, capsys):
    files = [(tmp_path / "one.yaml", {"a": {"b": 1, "bc": 2}})]
    show_config.show(files, "a.b")
    shown = capsys.readouterr().out
    assert shown.startswith("a.b: 1  # ") and "bc" not in shown
    with pytest.raises(JobError, match="--key x: expected a key of the config, found none"):
        show_config.show(files, "x")


def test_the_command_reads_what_a_file_extends(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("extends: config/demo/config.yaml\ntasks: {glue: {version: 9}}\n")
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(commands, ["config", "mine.yaml", "--key", "tasks.glue"], standalone_mode=False).output
    lines = dict(line.split("  # ") for line in shown.splitlines())
    assert lines["tasks.glue.version: 9"] == "mine.yaml"
    assert any(place.endswith("config/demo/config.yaml") for place in lines.values())
    assert any(place.endswith("config/glue/task.yaml") for place in lines.values())
