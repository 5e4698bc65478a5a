"""The trunk without packages and studies: it names none of them, passes lint and tests, and makes the same tables."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from support import ROOT

FOLDERS = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("[ps]*/*/")
    if path.parent.name in ("packages", "studies") and path.name != "__pycache__"
)
TRUNK = ("Snakefile", "config", "envs", "hra", "rules", "workflow")
EXCEPT = [f":!envs/{name}" for name in ("Dockerfile", "hra.def", "lock.txt", "uv.toml")]  # what an image installs
EXCEPT += [":!workflow/hra_workflow/methods/peft_types.py"]  # PEFT has a type psoft, like the study
DEMO = ("--cores", "2", "-q", "rules", "--configfile", "config/demo/config.yaml", "config/demo/quick.yaml", "--")
SAME = re.compile(r"(.*/)?(adapter_model\.safetensors|predictions\.jsonl\.gz|(table|compare)_\w+\.(csv|md))")


def words() -> set[str]:
    """Return the names of packages and studies, and of what they install."""
    names = {Path(one).name for one in FOLDERS} | {
        path.parent.name for path in ROOT.glob("packages/*/src/*/__init__.py")
    }
    return {form for name in names for form in (name, name.replace("_", "-"))}


@pytest.mark.skipif(not FOLDERS, reason="packages/ and studies/ are deleted")
def test_the_trunk_names_no_package_and_no_study_and_its_tests_import_none():
    named = rf"\b({'|'.join(sorted(words()))}|packages/|studies/)\b"
    modules = "|".join([path.parent.name for path in ROOT.glob("packages/*/src/*/__init__.py")] or ["none"])
    imported = rf"^ *(from|import) ({modules}|studies)\b"
    for options, pattern, places in (("-InwiE", named, [*TRUNK, *EXCEPT]), ("-nE", imported, ["tests"])):
        command = ["git", "grep", options, pattern, "--", *places]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1, done.stdout


class Clone:
    """A clone without some folders, with an environment that has none of this repository's packages."""

    def __init__(self, place: Path, without: list[str]):
        self.folder, tools = place / "clone", place / "venv/bin"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(self.folder)], check=True)
        for one in without:
            shutil.rmtree(self.folder / one)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "without", "--allow-empty")
        venv.create(place / "venv", symlinks=True)
        below = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        site = place / "venv" / below  # linked here, since dill pickles a module elsewhere by its content
        for path in Path(sys.prefix, below).iterdir():
            if path.suffix != ".pth" and not (path.suffix == ".dist-info" and self.is_deleted(path)):
                (site / path.name).symlink_to(path)
        packages = sorted(self.folder.glob("packages/*/src"))
        paths = [self.folder, self.folder / "workflow", *packages]
        (site / "clone.pth").write_text("".join(f"{path}\n" for path in paths))
        for path in Path(sys.prefix, "bin").iterdir():
            if path.is_file() and not path.is_symlink() and path.read_bytes()[:2] == b"#!":
                text = path.read_text(errors="surrogateescape").split("\n", 1)[1]
                (tools / path.name).write_text(f"#!{tools}/python\n{text}", errors="surrogateescape")
                (tools / path.name).chmod(0o755)
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.environment = own | {"PATH": f"{tools}:{os.environ['PATH']}"}

    def is_deleted(self, metadata: Path) -> bool:
        """Return whether a distribution is a package of this repository whose folder the clone lacks."""
        name = metadata.name.partition("-")[0]
        return any(
            name == path.parent.name and not (self.folder / path.parents[3].name / path.parents[2].name).exists()
            for path in ROOT.glob("packages/*/src/*/__init__.py")
        )

    def git(self, *words: str) -> None:
        user = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *user, *words], cwd=self.folder, check=True)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def results(self) -> dict[str, bytes]:
        """Make the quick demo, and return its adapters, predictions and tables."""
        self.run("snakemake", *DEMO, "glue", "control")
        root = self.folder / "demo/results"
        found = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
        return {name: path.read_bytes() for name, path in found.items() if SAME.fullmatch(name)}


@pytest.mark.slow
def test_imports_are_clean_and_jobs_planned_without_any_of_them(tmp_path):
    clone = Clone(tmp_path, FOLDERS)
    assert "No module named" in clone.run("sh", "-c", "! python -c 'import hra_results'")
    assert "Contracts: 5 kept" in clone.run("lint-imports")
    assert "table_glue: " in clone.run("snakemake", "-n", *DEMO, "glue")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    return Clone(tmp_path_factory.mktemp("whole"), []).results()


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("without", [*([one] for one in FOLDERS), FOLDERS], ids=lambda found: "+".join(found)[:40])
def test_lint_fast_tests_and_demo_without_a_folder(without, whole, tmp_path):
    clone = Clone(tmp_path, without)
    clone.run("pre-commit", "run", "--all-files")
    clone.run("pre-commit", "run", "--all-files", "--hook-stage", "pre-push")
    # The sandbox of untrusted programs does not see an environment in /tmp.
    left_out = "--deselect=tests/scripts/test_isolation.py"
    clone.run("python", "-m", "pytest", "-q", "-n", "2", "-m", "not slow", left_out, "tests")
    assert len(whole) > 20 and clone.results() == whole
