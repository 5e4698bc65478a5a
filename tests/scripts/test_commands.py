"""Commands in the documentation, in messages, of hra-workflow and of CI do what they are meant to."""

import os
import re
import shlex
import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from snakemake.cli import get_argument_parser, parse_config

from hra_workflow.commands import parameters, project
from hra_workflow.commands.main import commands, main
from support import ROOT

TARGET = re.compile(r"(results|resources)/.*|all|glue|table_glue|control|sheets|control_sheets")
DEMO = ("--configfile", "config/demo/config.yaml")
LINES = ("-q", "rules", "host")  # without a terminal
SOURCES = (
    "*.md",
    "*/*.md",
    "docs/*/*.md",
    "config/**/*.yaml",
    "profiles/*/*.yaml",
    "rules/**/*.smk",
    "workflow/**/*.py",
)


@pytest.fixture
def composed(monkeypatch, tmp_path):
    """Provide a function that returns the last command of Snakemake for the words of a command, in the repository.

    composed.calls: all commands of Snakemake, which are not run.
    """

    def compose(*words: str) -> list[str]:
        assert main([*words]) == 0
        return compose.calls[-1]

    compose.calls = []
    monkeypatch.setattr(project, "call", lambda command, is_first=None: compose.calls.append(command) or 0)
    here = tmp_path / "workflow"
    here.mkdir()
    for name in ("profiles", "slurm", "config", "rules"):
        (here / name).symlink_to(ROOT / name)
    for module in (project, parameters):
        monkeypatch.setattr(module, "ROOT", str(here))
    monkeypatch.chdir(here)
    return compose


def swallowed(command: str) -> list[str]:
    """Return the words of a command that look like targets, but that Snakemake reads as values of an option."""
    words = shlex.split(command, comments=True)[1:]
    try:
        read = set(get_argument_parser().parse_args(words).targets)
    except SystemExit:  # the option takes only certain words
        read = set()
    read |= {file for option, file in pairwise(words) if option == "--forcerun"}
    return [word for word in words if TARGET.fullmatch(word) and word not in read]


def test_a_command_prints_the_command_of_snakemake(composed):
    start = ("snakemake", "--cores", "2")
    assert composed("run", "--cores", "2") == [*start, *LINES, "--", "all"]
    assert composed("run", "--cores", "2", "--verbose", "--task", "glue") == [*start, "--", "glue"]
    Path("a.yaml").touch()
    Path("b.yaml").touch()
    table = ("run", "a.yaml", "b.yaml", "--table", "glue", "--profile", "slurm")
    files = ("--configfile", "a.yaml", "b.yaml")
    assert composed(*table) == ["snakemake", "--profile", "slurm", *files, *LINES, "--", "table_glue"]
    quiet = ("-n", "-q", "rules", "progress", "host")
    assert composed("plan", "a.yaml", "--data", ".", "--table", "glue", "--cores", "2") == (
        [*start, "--configfile", "a.yaml", *quiet, "--config", "local_root=.", "--", "table_glue"]
    )
    assert composed("plan", "--verbose", "--cores", "2") == [*start, "-n", "--", "all"]
    assert composed("plan", "--profile", "gpu-server")[1:3] == ["--profile", "profiles/gpu-server"]


def test_demos_and_a_smoke_test(composed):
    assert composed("demo", "tune", "--cores", "2")[3:] == [*DEMO, "config/demo/tune.yaml", *LINES, "--", "all"]
    real = [*DEMO, "config/demo/real_data.yaml", *LINES, "--config", "local_root=."]
    assert composed("demo", "math", "--data", ".", "--cores", "2")[3:] == [*real, "--", "math"]
    jobs = composed("smoke", "--table", "glue", "--profile", "slurm")
    assert "preflight=True" in jobs and jobs[-1] == "preflight_glue" and "--retries" in jobs


def test_requests_for_ones_own_results(composed):
    run = ("--run", "results/glue/cola/hra/r8/seed0/", "--weights", "best")
    exported = composed("export", *run)
    given = {"run": "results/glue/cola/hra/r8/seed0/", "weights": "best", "command": "export"}
    assert request(exported) == given and exported[-2:] == ["--", "export"] and "export_adapter" in exported
    Path("it's, and newer.csv").touch()
    predicted = composed("predict", "--texts", "it's, and newer.csv", "--seed", "3", "--profile", "slurm")
    assert request(predicted) == {"texts": "it's, and newer.csv", "seed": "3", "command": "predict"}
    assert predicted[:3] == ["snakemake", "--profile", "slurm"] and "predict_inputs" in predicted


def request(command: list[str]) -> dict:
    """Return the request as Snakemake reads it."""
    (found,) = (word for word in command if word.startswith("request="))
    return parse_config([found])["request"]


def test_no_option_swallows_a_target(composed):
    """Test options with several values, such as --configfile, --config, --until and -q: `--` ends them."""
    assert swallowed("snakemake -n -q results/table_glue.csv") == ["results/table_glue.csv"]
    files = [path for pattern in SOURCES for path in sorted(ROOT.glob(pattern)) if path.exists()]
    written = [match for path in files for match in re.findall(r"\bsnakemake [^`\n\"]*", path.read_text())]
    commands = [command for command in dict.fromkeys(written) if any(map(TARGET.fullmatch, command.split()))]
    assert len(commands) > 20 and any("--configfile" in command for command in commands)
    Path("mine.yaml").touch()
    for words in ("plan mine.yaml --table glue", "demo --data .", "run mine.yaml --task glue"):
        commands.append(shlex.join(composed(*words.split())))
    assert {command: names for command in commands if (names := swallowed(command))} == {}


@pytest.mark.parametrize(
    ("printed", "shown", "status"),
    [
        ("SNAKEMAKE\nHost: a\ntable_glue: 1 job\n  hours:    0\n", "table_glue: 1 job\n  hours:    0\n", 0),
        ("Using a profile\nError: config: tasks: wrong\n", "Error: config: tasks: wrong\n", 2),
        ("Building DAG\nMissingRuleException:\n", "Building DAG\nMissingRuleException:\n", 1),
    ],
)
def test_the_output_is_the_plan_or_else_what_failed(capfd, printed, shown, status):
    script = f"import sys; print({printed!r}, end=''); sys.exit({bool(status):d})"
    assert project.call([sys.executable, "-c", script], lambda line: line.startswith("table_")) == status
    found = capfd.readouterr()
    assert (found.err.partition("\n")[2] if status else found.out) == shown


def test_the_status_of_a_command_is_that_of_snakemake():
    assert [project.call([sys.executable, "-c", f"raise SystemExit({status})"]) for status in (0, 3)] == [0, 3]


def test_ctrl_c_is_one_line_and_status_130(capfd):
    """A terminal sends it to the command as well, which here sends it; its output of a plan is not shown."""
    before = signal.getsignal(signal.SIGINT)
    code = "import os, signal; print('Traceback'); os.kill(os.getppid(), signal.SIGINT); raise SystemExit(1)"
    assert project.call([sys.executable, "-c", code], lambda line: line.startswith("table_")) == 130
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.splitlines()[1:] == [
        "Stopped. Finished work is kept: give the same command again."
    ]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("own", [None, "workflow/Snakefile"])
def test_another_folder_has_its_own_snakefile_or_that_of_the_workflow(tmp_path, composed, monkeypatch, own):
    monkeypatch.chdir(tmp_path)
    if own:
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).touch()
    root = project.ROOT
    place = ["--workflow-profile", f"{root}/profiles/default"] if own else ["--snakefile", f"{root}/Snakefile"]
    for words in ("plan", "run", "export", "smoke"):
        assert composed(words)[1:3] == place
    assert composed("plan", "--profile", "slurm")[3:5] == ["--profile", f"{root}/slurm"]


def test_modules_that_a_config_in_the_workflow_s_folder_names_are_imported_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "/other")
    project.import_from_workflow((f"{tmp_path}/config/demo/config.yaml", "/elsewhere/config.yaml"))
    assert str(tmp_path) not in sys.path and os.environ["PYTHONPATH"] == "/other"
    project.import_from_workflow((f"{tmp_path}/mine/config.yaml",))
    assert sys.path[-1] == str(tmp_path) and os.environ["PYTHONPATH"] == f"/other:{tmp_path}"


def test_the_command_reads_what_a_file_extends(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("extends: config/demo/config.yaml\ntasks: {glue: {version: 9}}\n")
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(commands, ["config", "mine.yaml", "--key", "tasks.glue"], standalone_mode=False).output
    lines = dict(line.split("  # ") for line in shown.splitlines())
    assert lines["tasks.glue.version: 9"] == "mine.yaml"
    assert {"config.yaml", "task.yaml"} <= {place.rpartition("/")[2] for place in lines.values()}
