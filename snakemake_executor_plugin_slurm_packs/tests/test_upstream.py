"""The patches for the Slurm plugin: each applies to the installed version, and its own test fails without it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake_executor_plugin_slurm

PACKAGE = Path(snakemake_executor_plugin_slurm.__file__).parent
PATCHES = sorted(Path(__file__).parents[1].glob("upstream/*.patch"))


def apply(patch: Path, folder: Path, included: str) -> None:
    # Documentation and tests are not installed.
    subprocess.run(["git", "apply", f"--include={included}", str(patch)], cwd=folder, check=True)


def test_there_is_a_page_on_every_patch():
    page = (PATCHES[0].parent / "README.md").read_text()
    assert all(f"({patch.name})" in page for patch in PATCHES)


@pytest.mark.slow
@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_a_patch_applies_and_its_test_fails_without_it(patch, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (test,) = re.findall(r"^--- /dev/null\n\+\+\+ b/(tests/\S+)$", patch.read_text(), re.MULTILINE)
    apply(patch, tmp_path, test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    with_copy = os.environ | {"PYTHONPATH": str(tmp_path)}
    without = subprocess.run(command, cwd=tmp_path, env=with_copy, capture_output=True, text=True)
    assert without.returncode == 1 and "1 failed" in without.stdout, without.stdout + without.stderr
    apply(patch, tmp_path, f"{PACKAGE.name}/*")
    fixed = subprocess.run(command, cwd=tmp_path, env=with_copy, capture_output=True, text=True)
    assert fixed.returncode == 0 and "1 passed" in fixed.stdout, fixed.stdout + fixed.stderr
