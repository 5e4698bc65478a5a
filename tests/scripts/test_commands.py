"""Commands in the documentation, in messages, of hra-workflow and of CI do what they are meant to."""

import os
import re
import shlex
import subprocess
import tomllib
from itertools import pairwise

import pytest
import yaml
from snakemake.cli import get_argument_parser

from hra_workflow.commands import main, project
from support import ROOT

TARGET = re.compile(r"(results|resources)/.*|all|glue|table_glue|control|sheets|control_sheets")
SOURCES = (
    "*.md",
    "*/*.md",
    "docs/*/*.md",
    "config/**/*.yaml",
    "profiles/*/*.yaml",
    "rules/**/*.smk",
    "workflow/**/*.py",
)


def swallowed(command: str) -> list[str]:
    """Return the words of a command that look like targets, but that Snakemake reads as values of an option."""
    words = shlex.split(command, comments=True)[1:]
    try:
        read = set(get_argument_parser().parse_args(words).targets)
    except SystemExit:  # the option takes only certain words
        read = set()
    read |= {file for option, file in pairwise(words) if option == "--forcerun"}
    return [word for word in words if TARGET.fullmatch(word) and word not in read]


@pytest.fixture
def made(monkeypatch):
    """Return a function that returns the last Snakemake command for the words after hra-workflow, which is not run."""
    started = []
    monkeypatch.setattr(project, "call", lambda command, *_: started.append(command) or 0)
    monkeypatch.setattr(project.lock, "remove", lambda _: 0)
    monkeypatch.chdir(ROOT)

    def command_of(words: str) -> str:
        assert main.main(shlex.split(words)) == 0
        return shlex.join(started[-1])

    return command_of


@pytest.fixture
def configs(tmp_path):
    paths = [tmp_path / name for name in ("a.yaml", "b c.yaml")]
    for path in paths:
        path.write_text("# café\n", encoding="utf-8")
    return shlex.join(map(str, paths))


def test_commands_take_several_config_files_and_a_profile(made, configs):
    assert made("run --cores 2") == "snakemake --cores 2 --logger rich -- all"
    assert made("run --cores 2 --verbose") == "snakemake --cores 2 -- all"
    assert made(f"table {configs} --table glue --profile slurm") == (
        f"snakemake --profile slurm --configfile {configs} --logger rich -- table_glue"
    )
    planned = f"snakemake --configfile {configs} -n -q rules progress host -- table_glue"
    assert made(f"plan --table glue {configs}") == planned
    assert made("plan --table glue --verbose") == "snakemake -n -- table_glue"


def written() -> list[str]:
    files = [path for pattern in SOURCES for path in sorted(ROOT.glob(pattern)) if path.exists()]
    found = [match for path in files for match in re.findall(r"\bsnakemake [^`\n\"]*", path.read_text())]
    return [command for command in dict.fromkeys(found) if any(map(TARGET.fullmatch, command.split()))]


def test_no_option_swallows_a_target(made, configs, tmp_path):
    """Test options with several values, such as --configfile, --config, --until and -q: `--` ends them."""
    commands = written()
    assert len(commands) > 20 and any("--configfile" in command for command in commands)
    words = ("plan", f"plan --table glue {configs}", f"demo --data {tmp_path}", f"run {configs} --task glue")
    commands += [made(line) for line in (*words, f"table {configs} --table glue --profile slurm", "smoke")]
    assert {command: names for command in commands if (names := swallowed(command))} == {}


def test_a_config_that_is_not_in_utf_8_is_refused_before_snakemake_reads_it(tmp_path, capsys):
    (tmp_path / "other.yaml").write_text("# café\n", encoding="latin-1")
    assert main.main(["plan", f"{tmp_path}/other.yaml"]) == main.WRONG
    assert f"{tmp_path}/other.yaml, line 1: expected text in UTF-8, found the byte" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("printed", "shown", "rc"),
    [
        ("SNAKEMAKE\n  Host: a\ntable_glue: 1 job\n  hours:    0\n", "table_glue: 1 job\n  hours:    0\n", 0),
        ("Building DAG\nError: no rule\n", "Error: no rule\n", 1),
    ],
)
@pytest.mark.parametrize("verbose", [False, True])
def test_plan_shows_the_plan_only_or_else_what_failed(printed, shown, rc, verbose, monkeypatch, tmp_path, capfd):
    (tmp_path / "printed").write_text(printed)
    stand_in = ["sh", "-c", f"cat {tmp_path}/printed; exit {rc}"]
    monkeypatch.setattr(project.Project, "command", lambda *_, **__: stand_in)
    monkeypatch.chdir(ROOT)
    assert project.Project(verbose=verbose).plan("all") == rc
    out, err = capfd.readouterr()
    assert out + err.partition("\n")[2] * (rc > 0) == (printed if verbose else shown)


@pytest.mark.parametrize("options", ["--configfile a.yaml b.yaml", "--config incomplete=True", "-n -q"])
def test_a_missing_end_of_options_is_noticed(options):
    assert swallowed(f"snakemake {options} results/table_glue.csv") == ["results/table_glue.csv"]
    assert swallowed(f"snakemake {options} -- results/table_glue.csv") == []


def test_commands_for_ones_own_results(made, configs, tmp_path):
    run = f"{configs} --run results/glue/cola/hra/r8/seed0/ --weights best"
    request = '"run": "results/glue/cola/hra/r8/seed0/", "weights": "best", '
    exported = made(f"export {run}")
    assert exported.endswith(f'--config \'request={{{request}"command": "export"}}\' -- export')
    texts = tmp_path / "new, and newer.csv"
    texts.touch()
    predicted = made(f"predict {run} --texts '{texts}' --seed 3 --profile slurm")
    request += f'"texts": "{texts}", "seed": "3", "command": "predict"'
    assert predicted.endswith(f"-R predict_inputs --config 'request={{{request}}}' -- predict")
    assert f"--profile slurm --configfile {configs}" in predicted


@pytest.mark.parametrize("own", [None, "Snakefile", "workflow/Snakefile"])
def test_in_another_folder_its_snakefile_is_used_or_that_of_the_workflow(made, tmp_path, monkeypatch, own):
    if own:
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).touch()
    monkeypatch.chdir(tmp_path)
    used = ["--workflow-profile", f"{ROOT}/profiles/default"] if own else ["--snakefile", f"{ROOT}/Snakefile"]
    for words in ("plan", "run", "export --run results/x"):
        assert shlex.split(made(words))[1:3] == used


def test_a_target_that_is_gone_prints_the_new_command():
    command = ["make", "-n", "plan", "CONFIG=mine.yaml", "TABLE=glue"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "hra-workflow plan mine.yaml --table glue'" in printed and "exit 2" in printed


def test_ci_makes_its_targets_or_those_that_are_requested(tmp_path):
    for name in ("make", "git", "gcc", "ip", "bwrap", "chromium", "slurmctld"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$0" "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def targets(*requested: str) -> list[str]:
        command = [ROOT / ".ci/run", *requested]
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return output.replace(f"{tmp_path}/make ", "").split()

    assert targets("fast") == ["fast"]
    assert set(targets()) <= {target for target, _ in made_on_github()}


def test_githubs_workflows_make_targets_of_the_makefile_on_every_supported_python():
    makefile = (ROOT / "Makefile").read_text()
    known = {*re.findall(r"^([\w-]+):.*##", makefile, re.MULTILINE), "cases"}  # .ci/cases
    assert known >= {target for target, _ in made_on_github()}
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = {text.rpartition(" ")[2] for text in classifiers if "Python :: 3." in text}
    assert {version for target, version in made_on_github() if target == "fast"} == supported


def made_on_github() -> list[tuple[str, str]]:
    """List target and version of Python of every job of GitHub's workflows, which do nothing but call .ci/run."""
    made = []
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            (command,) = (step["run"] for step in job["steps"] if "run" in step)
            for row in job.get("strategy", {}).get("matrix", {}).get("include", [{}]):
                text = f"{command} {job['container']['image']}"
                for name, value in row.items():
                    text = text.replace(f"${{{{ matrix.{name} }}}}", value)
                made += re.findall(r"^\.ci/run (\S+) python:(.*)-trixie$", text) or [(text, "")]
    return made
