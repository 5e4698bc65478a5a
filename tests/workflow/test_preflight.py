"""`make preflight`, as a user types it, on grids that need neither network nor GPU."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from support import ROOT

TINY = ROOT / "tests/slurm/grid.yaml"
TASKS = ("glue", "math")


def test_what_is_wrong_with_this_machine_is_listed_before_any_job(fresh, tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'allocation failure: Invalid account' >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HRA_SLURM_PARTITION", "gpu")
    project = fresh.copy(tmp_path / "project")
    (project.folder / "grid.yaml").write_text(TINY.read_text().replace("save_seconds: 0", "save_seconds: 10"))
    command = (
        "-n",
        "-q",
        "--profile",
        "slurm",
        "--configfile",
        "grid.yaml",
        "--config",
        "preflight=login",
        "--",
        "preflight_glue",
    )
    output = project.snakemake(*command)
    assert "table_glue: " in output and "  ok    source tiny-bert: generated here" in output
    assert "  TODO  source sentences: expected a folder at" in output
    assert "  ok    disk: " in output
    assert "  TODO  Slurm, train_glue: allocation failure: Invalid account (-p gpu -t 10 --mem 1500 " in output
    report = json.loads((project.folder / "results/preflight.json").read_text())
    assert {"part", "check", "ok", "text"} == set(report["findings"][0])


@pytest.mark.slow
def test_the_check_at_the_login_runs_no_job(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    shutil.rmtree(project.folder / "resources", ignore_errors=True)  # data cards of other tests' dry runs
    command = ("--cores", "1", "--configfile", "small.yaml", "--config", "preflight=login", "--", "preflight_glue")
    assert "Nothing was started. `--config preflight=login` is for a dry run: add -n" in project.snakemake(
        *command, ok=False
    )
    assert not (project.folder / "resources").exists()


@pytest.mark.full  # test_your_own_walk.py runs `make preflight` as well
def test_the_demo_passes_and_leaves_only_logs_and_rates(tmp_path):
    paths = {name: f"{tmp_path}/{name}" for name in ("results", "resources", "scratch", "logs")}
    (tmp_path / "paths.yaml").write_text(f"pathvars: {paths}")
    configs = f"config/demo/config.yaml tests/tiny/preflight.yaml {tmp_path}/paths.yaml"
    tools = (f"VENV={sys.prefix}", f"PYTHON={sys.executable}", "READY=")  # installed, maybe from another folder
    command = ["make", "preflight", "CORES=2", *tools, f"CONFIG={configs}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "results/preflight.json").read_text())
    assert all(one["ok"] for one in report["findings"])
    found = {one["check"]: one["text"] for one in report["findings"]}
    assert found["gloo, jobs without GPU"] == "2 processes added up 2"
    for task in TASKS:
        assert "s a step of" in found[f"{task} hra/r8, training"], found
        assert found[f"{task} hra/r8, kill and resume"] == "killed at step 10, resumed from step 10"
    assert {(one["task"], one["stage"]) for one in report["rates"]} == {
        *((task, "train") for task in TASKS),
        ("math", "generate"),
        ("glue", "evaluate"),
    }
    assert all(one["seconds_per_row"] > 0 for one in report["rates"])
    assert not any((tmp_path / folder / "preflight").exists() for folder in ("results", "resources", "scratch"))
    assert (tmp_path / "logs/preflight").exists()
