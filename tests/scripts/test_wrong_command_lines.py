"""Wrong command lines of hra-workflow: one line with the remedy, exit status 2, and nothing is started."""

import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hra_workflow.commands import main as interface
from hra_workflow.commands import project
from hra_workflow.commands.main import main

WRONG = {  # the words of a command line, and what its error contains
    # options
    "plan --tabel glue": "No such option '--tabel'. (Did you mean one of:",
    "plan CONFIG=mine.yaml": "CONFIG=mine.yaml: expected a config file, or a folder with config.yaml in /",
    "predict --prompst new.csv": "Did you mean '--prompts'?",
    "run -n": "No such option '-n'",
    # commands and other names
    "plann": "No such command 'plann'. Did you mean 'plan'?",
    "plan --table gleu": "control, glue, math, retention, compute, subject), found another name (is it 'glue'?)",
    "plan mine.yaml --table control": "--table control: expected a table of the config (glue), found another name",
    # paths
    "run reviewz": "found none (is it 'reviews'?)",
    "run reviews/data/train.csv": ", found another. `hra-workflow new NAME` makes one",
    "plan glue": "--table, --texts and others name tables and data",
    "predict --texts gone.csv": "File 'gone.csv' does not exist",
    "predict --texts reviews": "File 'reviews' is a directory",
    "predict --images gone": "Path 'gone' does not exist",
    # values
    "run --cores 0": "0 is not in the range x>=1",
    "new a/b": "expected a name of letters, digits, _ and -",
    "new reviews": "expected the name of a new folder, which no dataset of config/ has, found 'reviews'",
    "new sentiment": "expected the name of a new folder, which no dataset of config/ has, found 'sentiment'",
    # too much
    "run --task glue --table glue": "expected --task or --table, found both",
    "demo tune --data empty": "tune: expected no --data, found one",
    "plan reviews empty": "expected one project, found reviews, empty",
    # files that are no config
    "plan latin.yaml": "latin.yaml, line 1: expected text in UTF-8",
    "plan broken.yaml": "broken.yaml: expected YAML, found an error:",
    "plan list.yaml": "list.yaml: expected keys of the config, found list",
    # another project
    "plan ../reviews": "Change to it: cd",
    "status reviews": "expected a run with results in reviews/results that requested a table, found none",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Provide a folder with a project and files that are no configs, next to the workflow's."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "reviews"]) == 0
    Path("empty").mkdir()
    Path("mine.yaml").write_text("tasks: {math: null, subject: null, control: null}\n")
    Path("latin.yaml").write_text("# café\n", encoding="latin-1")
    Path("broken.yaml").write_text("tasks: {glue: [}\n")
    Path("list.yaml").write_text("- tasks\n")
    monkeypatch.setattr(project, "call", lambda command, is_first=None: pytest.fail(f"started {command}"))
    return tmp_path


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_command_line_is_one_line_with_the_remedy(here, monkeypatch, capsys, words):
    monkeypatch.setenv("COLUMNS", "1")
    if "../" in words:
        monkeypatch.chdir("empty")
    capsys.readouterr()
    assert main(shlex.split(words)) == interface.WRONG == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("Error: ") and printed.err.count("\n") == 1
    assert WRONG[words] in printed.err


def test_a_project_s_own_folder_is_no_place_for_the_grid_of_the_paper(here, monkeypatch, capsys):
    monkeypatch.chdir("reviews")
    for words in ("plan", "run --task glue", "plan .", "plan config.yaml"):
        assert main(words.split()) == 2
        found = capsys.readouterr().err
        assert f"cd {here}, and name the project reviews" in found
    assert main(["plan", "reviews"]) == 2
    assert f"or a folder with config.yaml in {here}/reviews, found none" in capsys.readouterr().err
    Path("config.yaml").write_text("{}")
    assert main(["plan"]) == 2
    assert "expected the project that is meant, found config.yaml here" in capsys.readouterr().err


def test_help_texts_have_examples_in_any_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "0")
    for name in interface.commands.list_commands(click.Context(interface.commands)):
        assert main([name, "--help"]) == 0
        printed = capsys.readouterr().out
        assert "Examples:" in printed and f"hra-workflow {name}" in printed, name
    assert main(["--help"]) == 0
    assert "Exit status" in capsys.readouterr().out


def test_the_program_is_installed_and_returns_the_status():
    program = Path(sys.executable).with_name("hra-workflow")
    done = subprocess.run([program, "plann"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("Error: No such command 'plann'")
