"""The executor's wheel in new environments, with the oldest and newest Snakemake that it supports, on its example."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PLUGIN = ROOT / "packages/slurm_packs"
OLDEST = re.search(r'"snakemake>=([\d.]+)', (PLUGIN / "pyproject.toml").read_text())[1]
OPTIONS = ["--slurm-packs-status-command", "squeue", "--slurm-packs-init-seconds-before-status-checks", "1"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "-w", "--no-isolation", "--outdir", folder, PLUGIN], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.parametrize("snakemake", [f"snakemake=={OLDEST}", "snakemake"])
def test_the_example_runs_from_the_wheel_alone(cluster, wheel, tmp_path, monkeypatch, snakemake):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    tools = tmp_path / "venv/bin"
    subprocess.run([tools / "pip", "install", "-q", "--disable-pip-version-check", wheel, snakemake], check=True)
    folder = tmp_path / "example"
    shutil.copytree(PLUGIN / "example", folder)
    command = [tools / "snakemake", "--executor", "slurm-packs", "--jobs", "100", *OPTIONS]
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{cluster.state()}"
    assert (folder / "scores.txt").read_text().split() == [*"12345678"]
    jobs = re.findall(r"has been submitted with SLURM jobid (\d+)", done.stderr)
    assert len({*jobs}) == 3, done.stderr  # prepare, and eight runs as two packs
