"""An archive of the real workflow's tables, on tiny models: written from the plan of a dry run, verified elsewhere."""

import re

import pytest
from yaml import safe_dump

from hra_results import archive
from hra_workflow.commands.main import main
from hra_workflow.core import files
from project import Project
from test_tuned_chain import COMMAND, TABLE, TINY


@pytest.mark.slow
@pytest.mark.full
def test_tuned_runs_are_archived_with_their_trials_and_verified_elsewhere(tmp_path, monkeypatch, capsys):
    project = Project.fresh(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY))
    project.snakemake(*COMMAND, "--", TABLE)
    project.snakemake("-n", *COMMAND, "--config", "plan_file=plan.json", "--", TABLE)
    monkeypatch.chdir(project.folder)
    archive.write(files.read_json("plan.json"), "glue", "../glue")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "glue").rename(tmp_path / "elsewhere/glue")
    monkeypatch.chdir(moved.parent)
    capsys.readouterr()
    assert main(["verify", "glue"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r" 4 records .* 5 tables, made again from the records, are byte-identical", printed)
    private = [path for path in moved.rglob("*.*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    assert private == []
