"""The patches for the Slurm plugin: each applies to the installed version, and its own tests fail without it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake_executor_plugin_slurm

PACKAGE = Path(snakemake_executor_plugin_slurm.__file__).parent
PAGE = Path(__file__).parents[1] / "upstream/README.md"
PATCHES = sorted(PAGE.parent.glob("*.patch"))


def order_of_the_page() -> list[str]:
    return re.findall(r"\]\((\S+\.patch)\)", PAGE.read_text())


def apply(patch: Path, folder: Path, files: list[str]) -> None:
    included = [f"--include={file}" for file in files]
    subprocess.run(["git", "apply", *included, str(patch)], cwd=folder, check=True)


def new_files(patch: Path) -> list[str]:
    return re.findall(r"^--- /dev/null\n\+\+\+ b/(\S+)$", patch.read_text(), re.MULTILINE)


def changed_files(patch: Path) -> list[str]:
    # Documentation and tests are not installed.
    return re.findall(rf"^--- a/({PACKAGE.name}/\S+)$", patch.read_text(), re.MULTILINE)


def run_tests(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    with_copy = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=with_copy, capture_output=True, text=True)


def test_the_page_has_every_patch_once():
    assert sorted(order_of_the_page()) == [patch.name for patch in PATCHES]


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_a_patch_applies_and_its_tests_fail_without_it(patch, folder):
    apply(patch, folder, new_files(patch))  # also its new modules, so that the tests can import them
    without = run_tests(folder)
    assert without.returncode == 1 and " failed" in without.stdout, without.stdout + without.stderr
    apply(patch, folder, changed_files(patch))
    fixed = run_tests(folder)
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr


@pytest.mark.slow
def test_the_patches_apply_one_after_the_other_in_the_order_of_the_page(folder):
    for name in order_of_the_page():
        patch = PAGE.with_name(name)
        apply(patch, folder, new_files(patch) + changed_files(patch))
    done = run_tests(folder)
    assert done.returncode == 0, done.stdout + done.stderr
