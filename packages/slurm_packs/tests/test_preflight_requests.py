"""`hra-workflow smoke` with this executor: its requests are tested with Slurm before any job runs."""

import os
import shutil

from support import ROOT

TINY = ROOT / "tests/data/tiny_grid.yaml"


def test_a_refusal_of_slurm_is_listed_before_any_job(fresh, tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'allocation failure: Invalid account' >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HRA_SLURM_PARTITION", "gpu")
    project = fresh.copy(tmp_path / "project")
    (project.folder / "grid.yaml").write_text(TINY.read_text().replace("save_seconds: 0", "save_seconds: 10"))
    command = ("-n", "-q", "--profile", "slurm", "--configfile", "grid.yaml", "--config", "preflight=login")
    output = project.snakemake(*command, "--", "preflight_glue")
    assert "  TODO  Slurm, train_glue: allocation failure: Invalid account (-p gpu -t 10 --mem 2500 " in output
    assert (
        "  where:    Slurm: partition gpu, the account that Slurm chooses by default (set "
        "HRA_SLURM_ACCOUNT), up to 100 jobs at a time\n"
    ) in output
    (tmp_path / "sbatch").unlink()
    for name in ("bash", "sh", "which"):
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    output = project.snakemake(*command, "--", "preflight_glue")
    assert "  TODO  Slurm: expected the command `sbatch`, found none. Run this on a login node\n" in output
    assert "ok    Slurm" not in output and "ok    scheduler" not in output
