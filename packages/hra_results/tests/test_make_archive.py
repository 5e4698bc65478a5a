"""The make targets of archives, exports and comparisons call the right commands."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from hra_results import __main__ as program
from support import ROOT
from test_commands import commands

RUN = ("RUN=results/glue/cola/hra/r8/seed0/", "WEIGHTS=best", "CONFIG=a.yaml")


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Provide a function that makes a target with stand-ins for Snakemake and hra_results; returns what they print."""
    here = tmp_path / "bin"
    here.mkdir()

    def run(target: str, *variables: str, snakemake: str) -> tuple[int, str]:
        scripts = {"snakemake": snakemake, "python": 'shift 2; echo "called: $*"'}
        for name, script in scripts.items():
            (here / name).write_text(f"#!/bin/sh\n{script}\n")
            (here / name).chmod(0o755)
        printed = commands(target, *variables)
        done = subprocess.run(
            ["sh", "-c", printed], cwd=tmp_path, capture_output=True, text=True, env={"PATH": f"{here}:/usr/bin:/bin"}
        )
        return done.returncode, done.stdout

    return run


PLANS = """for one in "$@"; do case "$one" in plan_file=*) echo "$@" > "${one#plan_file=}";; esac; done; echo hidden"""


def test_an_archive_is_written_from_the_plan_of_its_tables(called):
    code, output = called("archive", "TABLE=glue", "CONFIG=a.yaml", "WEIGHTS=0", "TO=my glue.zip", snakemake=PLANS)
    assert code == 0 and re.fullmatch(r"called: archive /tmp/\S+ --table glue --to my glue\.zip --no-weights\n", output)
    code, output = called("archive", snakemake=PLANS)
    assert code == 0 and re.fullmatch(r"called: archive /tmp/\S+\n", output)
    for failure in ("echo wrong config; exit 1", "echo wrong config"):
        assert called("archive", snakemake=failure) == (1, "wrong config\n")
    planned = commands("archive", "TABLE=retention", "CONFIG=a.yaml")
    assert re.search(r'--configfile a\.yaml --config plan_file="\$plan" -- table_retention ', planned)
    assert " -- glue " in commands("archive", "TABLE=glue") and " -- all " in commands("archive")


def test_only_finished_tables_are_archived(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    jobs = [{"needed": True, "tables": tables, "outputs": [f"{tables}.csv"]} for tables in (["table_glue"], [])]
    plan = {"version": 1, "basedir": ".", "config": {}, "jobs": jobs}
    for content, message in (
        (
            plan,
            "expected finished tables, found 1 jobs that have to run: ['table_glue'].csv. Run them first (make run)",
        ),
        ({}, "plan.json: expected the plan of a dry run, found another file."),
    ):
        Path("plan.json").write_text(json.dumps(content))
        assert program.main(["archive", "plan.json"]) == 2
        assert message in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "plan.json"]


def test_an_export_is_checked_and_published(called):
    exports = "echo A note.; echo 'The model card: results/x y/hub/best/README.md'"
    code, output = called("publish", *RUN, "TO=me/hra", snakemake=exports)
    assert code == 0 and output == (
        "A note.\nChecking results/x y/hub/best\ncalled: publish results/x y/hub/best --to me/hra\n"
    )
    assert called("publish", *RUN, snakemake="echo no run; exit 1") == (1, "no run\n")
    request = 'run: "results/glue/cola/hra/r8/seed0/", weights: "best", make: export'
    assert f"--configfile a.yaml --config 'request={{{request}}}' -- export)" in commands("publish", *RUN)


def test_states_and_archives_are_passed_on():
    compared = " ".join(commands("diff", "A=results", "B=../old results", "TO=page.html", "CONFIG=a.yaml").split())
    assert compared.endswith('hra_results diff "results" "../old results" --to "page.html" --configfile a.yaml')
    assert commands("verify", "ARCHIVE=my glue.zip").strip() == 'python -m hra_results verify "my glue.zip"'
    for target, message in (("diff", "Which states?"), ("verify", "Which archive?"), ("publish", "Which run?")):
        command = ["make", "-n", "-o", ".venv/.installed", target]
        assert message in subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
