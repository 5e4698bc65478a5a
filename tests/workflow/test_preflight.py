"""`make preflight` before any job runs."""

import json
import shutil

import pytest

from support import ROOT

TINY = ROOT / "tests/data/tiny_grid.yaml"


def test_what_is_wrong_with_this_machine_is_listed_before_any_job(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    (project.folder / "grid.yaml").write_text(TINY.read_text().replace("save_seconds: 0", "save_seconds: 10"))
    command = ("-n", "-q", "--cores", "1", "--configfile", "grid.yaml", "--config", "preflight=login")
    output = project.snakemake(*command, "--", "preflight_glue")
    assert "table_glue: " in output and "  ok    source tiny-bert: generated here" in output
    assert "  TODO  source sentences: expected a folder at" in output
    assert "  ok    disk: " in output
    assert "  ok    scheduler: the jobs run on this machine" in output
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
