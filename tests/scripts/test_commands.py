"""Commands in the documentation, in messages, in the Makefile and of CI do what they are meant to."""

import os
import re
import shlex
import subprocess
import tomllib
from itertools import pairwise

import pytest
import yaml
from snakemake.cli import get_argument_parser

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


def test_targets_of_make_take_several_config_files_and_a_profile():
    assert made("run", "CORES=2").split() == ["snakemake", "--cores", "2", "--logger", "rich", "--", "all"]
    assert made("run", "CORES=2", "VERBOSE=1").split() == ["snakemake", "--cores", "2", "--", "all"]
    assert made("table", "TABLE=glue", "CONFIG=a.yaml b.yaml", "PROFILE=slurm").split() == (
        ["snakemake", "--profile", "slurm", "--configfile", "a.yaml", "b.yaml", "--logger", "rich", "--", "table_glue"]
    )
    planned = " ".join(made("plan", "TABLE=glue", "CONFIG=a.yaml b.yaml").split())
    assert planned == "snakemake -n -q host rules progress --configfile a.yaml b.yaml -- table_glue 2>&1"
    assert made("plan", "TABLE=glue", "VERBOSE=1").split() == ["snakemake", "-n", "--", "table_glue", "2>&1"]


def written() -> list[str]:
    files = [path for pattern in SOURCES for path in sorted(ROOT.glob(pattern)) if path.exists()]
    found = [match for path in files for match in re.findall(r"\bsnakemake [^`\n\"]*", path.read_text())]
    return [command for command in dict.fromkeys(found) if any(map(TARGET.fullmatch, command.split()))]


def made(*target: str) -> str:
    """Return the Snakemake command of a target of the Makefile, without running it."""
    return re.findall(r"^snakemake [^|\n]*", commands(*target), re.MULTILINE)[0]


def commands(*target: str) -> str:
    command = ["make", "-n", "--no-print-directory", "-o", ".venv/.installed", *target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def test_no_option_swallows_a_target():
    """Test options with several values, such as --configfile, --config, --until and -q: `--` ends them."""
    commands = written()
    assert len(commands) > 20 and any("--configfile" in command for command in commands)
    commands += [
        made("plan"),
        made("plan", "TABLE=glue", "CONFIG=mine.yaml"),
        made("demo", "DATA=data"),
        made("run", "CONFIG=mine.yaml other.yaml", "TASK=glue"),
        made("table", "TABLE=glue", "CONFIG=mine.yaml", "PROFILE=slurm"),
    ]
    assert {command: names for command in commands if (names := swallowed(command))} == {}


def test_a_config_that_is_not_in_utf_8_is_refused_before_snakemake_reads_it(tmp_path):
    (tmp_path / "good.yaml").write_text("# café\n", encoding="utf-8")
    (tmp_path / "other.yaml").write_text("# café\n", encoding="latin-1")
    assert f"--configfile {tmp_path}/good.yaml {tmp_path}/no.yaml" in made(
        "plan", f"CONFIG={tmp_path}/good.yaml {tmp_path}/no.yaml"
    )
    refused = ["make", "-n", "-o", ".venv/.installed", "plan", f"CONFIG={tmp_path}/good.yaml {tmp_path}/other.yaml"]
    output = subprocess.run(refused, cwd=ROOT, capture_output=True, text=True)
    assert output.returncode == 2 and f"{tmp_path}/other.yaml: expected text in UTF-8, found another" in output.stderr


@pytest.mark.parametrize(
    ("printed", "shown", "rc"),
    [
        ("SNAKEMAKE\n  Host: a\ntable_glue: 1 job\n  hours:    0\n", "table_glue: 1 job\n  hours:    0\n", 0),
        ("Building DAG\nMissingRuleException:\n", "Building DAG\nMissingRuleException:\n", 1),
    ],
)
@pytest.mark.parametrize("verbose", ["", "1"])
def test_make_plan_shows_the_plan_only_or_else_what_failed(printed, shown, rc, verbose):
    command = ["make", "-n", "-o", ".venv/.installed", "plan", f"VERBOSE={verbose}"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (pipe,) = re.findall(r"^snakemake .* 2>&1 \| (.*)", output.stdout, re.MULTILINE)
    done = subprocess.run(["sh", "-c", pipe], input=printed, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (printed if verbose else shown, rc)


@pytest.mark.parametrize("options", ["--configfile a.yaml b.yaml", "--config incomplete=True", "-n -q"])
def test_a_missing_end_of_options_is_noticed(options):
    assert swallowed(f"snakemake {options} results/table_glue.csv") == ["results/table_glue.csv"]
    assert swallowed(f"snakemake {options} -- results/table_glue.csv") == []


def test_targets_for_ones_own_results():
    run = ("RUN=results/glue/cola/hra/r8/seed0/", "WEIGHTS=best", "CONFIG=a.yaml")
    request = 'run: "results/glue/cola/hra/r8/seed0/", weights: "best"'
    exported = commands("export", *run).strip()
    assert exported.endswith(f"--configfile a.yaml --config 'request={{{request}, make: export}}' -- export")
    new = ("TEXTS=new, and newer.csv", "SEED=3", "PROFILE=slurm")
    request += ', texts: "new, and newer.csv", seed: "3", make: predict'
    predicted = commands("predict", *run, *new).strip()
    assert predicted.endswith(f"-R predict_inputs --config 'request={{{request}}}' -- predict")
    assert "--profile slurm --configfile a.yaml" in predicted


@pytest.mark.parametrize("own", [None, "Snakefile", "workflow/Snakefile"])
def test_make_in_another_folder_uses_its_snakefile_or_that_of_the_workflow(tmp_path, own):
    if own:
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).touch()
    expected = f"--workflow-profile {ROOT}/profiles/default" if own else f"--snakefile {ROOT}/Snakefile"
    for paths, pasted in (("a.yaml", "a.yaml"), ("a.yaml b.yaml", '"a.yaml b.yaml"')):
        recommended = "RECOMMENDED=$(call recommended,pages,what they show)"  # as a targets.mk does with +=
        ending = f"make pages CONFIG={pasted}    what they show'\n"
        assert commands("run", f"CONFIG={paths}", recommended).endswith(ending)
    for target in ("plan", "run", "export"):
        makefile = ["-f", ROOT / "Makefile", "-o", ROOT / ".venv/.installed"]
        command = ["make", "-n", "--no-print-directory", *makefile, target, "RUN=results/x", f"VENV={ROOT}/.venv"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        if " " in str(ROOT):
            assert "make -f: expected a path without spaces" in done.stderr
        else:
            assert {*re.findall(r"snakemake (--\S+ \S+)", done.stdout)} == {expected}, done.stdout


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
    assert all(re.search(rf"^{target}:.*##", makefile, re.MULTILINE) for target, _ in made_on_github())
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
