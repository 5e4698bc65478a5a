"""The environment on a node's local disk: unpacked once, by the first of many jobs, and replaced by a newer archive."""

import os
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from snakemake_executor_plugin_slurm_packs import UNPACK as SCRIPT


def pack(archive: Path, content: str, second: int) -> None:
    """Write an archive of an environment, with its time of modification."""
    source = archive.with_suffix("") / "bin"
    source.mkdir(parents=True, exist_ok=True)
    (source / "python").write_text(content)
    with tarfile.open(archive, "w") as packed:
        packed.add(source.parent, ".")
    os.utime(archive, (second, second))


def unpack(archive: Path, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([SCRIPT, archive, folder], capture_output=True, text=True)


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    pack(tmp_path / "shared.tar", "first", 1)
    return tmp_path / "shared.tar", tmp_path / "local/hra"


def test_jobs_that_start_together_unpack_it_once(places):
    archive, folder = places
    codes = []
    jobs = [threading.Thread(target=lambda: codes.append(unpack(archive, folder).returncode)) for _ in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert codes == [0] * 8 and (folder / "bin/python").read_text() == "first"
    inode = (folder / "bin/python").stat().st_ino
    assert unpack(archive, folder).returncode == 0 and (folder / "bin/python").stat().st_ino == inode


def test_a_newer_archive_replaces_it_and_a_half_unpacked_one_does_not_count(places):
    archive, folder = places
    unpack(archive, folder)
    pack(archive, "third", 2)
    (folder.parent / "hra.new/bin").mkdir(parents=True)  # left by a job that was killed
    (folder.parent / "hra.new/bin/old").touch()
    assert unpack(archive, folder).returncode == 0
    assert (folder / "bin/python").read_text() == "third" and not (folder / "bin/old").exists()
    archive.write_bytes(archive.read_bytes()[:700])
    assert unpack(archive, folder).returncode != 0
    assert (folder / "bin/python").read_text() == "third"  # never half of a damaged one


def test_the_installed_environment_is_left_alone(places):
    archive, folder = places
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_text("installed")
    assert unpack(archive, folder).returncode == 0 and (folder / "bin/python").read_text() == "installed"
    assert [path.name for path in folder.parent.iterdir()] == ["hra"]
