"""A stand-in for Slurm: commands on PATH that run each job at once, as a process of this machine."""

import json
import os
import sys
from pathlib import Path

import pytest

import project
from forked_python import JOBS_PYTHON
from project import Project

COMMANDS = ("sbatch", "squeue", "scancel", "srun", "scontrol", "sinfo", "sacct")


class Slurm:
    def __init__(self, folder: Path):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        for name in COMMANDS:
            (self.bin / name).symlink_to(Path(__file__).with_name("fake_slurm.py"))

    def jobs(self) -> list[dict]:
        """Return the submitted jobs: `name`, `comment`, `options`, `command`."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]

    def be_silent(self, times: int) -> None:
        """Let squeue give no status so many times."""
        (self.folder / "silent").write_text(str(times))

    def refuse_packs(self, times: int) -> None:
        """Let sbatch fail so many times for a pack."""
        (self.folder / "failing").write_text(str(times))


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Slurm:
    fake = Slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", os.pathsep.join([str(fake.bin), str(Path(sys.executable).parent), "/usr/bin", "/bin"]))
    monkeypatch.setenv("FAKE_SLURM", str(fake.folder))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return fake


@pytest.fixture
def forked_jobs(monkeypatch) -> None:
    """Let the Snakemakes of Slurm jobs, two per job, be forks of one that has imported its modules."""
    monkeypatch.setenv(JOBS_PYTHON, project.server()[1])


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Project:
    """Provide the workflow as a project without results."""
    return Project.fresh(tmp_path_factory.mktemp("fresh") / "project")
