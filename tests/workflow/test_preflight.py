"""`make preflight`, as a user types it, on grids that need neither network nor GPU."""

import json

from support import ROOT

TINY = ROOT / "tests/slurm/grid.yaml"


def test_what_is_wrong_with_this_machine_is_listed_before_any_job(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    (project.folder / "grid.yaml").write_text(TINY.read_text().replace("save_seconds: 0", "save_seconds: 10"))
    command = ("-n", "-q", "--configfile", "grid.yaml", "--config", "preflight=login", "--", "preflight_glue")
    output = project.snakemake(*command)
    assert "table_glue: " in output and "  ok    source tiny-bert: generated here" in output
    assert "  TODO  source sentences: expected a folder at" in output
    assert "  ok    disk: " in output and ("scheduler: no Slurm here" in output or "partition" in output)
    report = json.loads((project.folder / "results/preflight.json").read_text())
    assert {"part", "check", "ok", "text"} == set(report["findings"][0])
