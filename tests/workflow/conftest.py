"""The real Snakefile, rules and config in a folder of its own, with stand-in scripts that only touch their outputs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

COPIED = ("Snakefile", "rules", "workflow", "config", "profiles", "envs", "slurm")
STAND_IN = """
from pathlib import Path
for path in snakemake.output:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()
"""
SMALL = """
tasks:
  glue:
    grid:
      - {runs: [lora/r8, hra/r8], datasets: [cola, mnli], seeds: [0, 1]}
    resources: {gpu: 0, threads: 1, mem_mb: 1000, runtime: 10}
    columns:
      - {name: CoLA, dataset: cola, benchmark: validation, metric: matthews_correlation}
      - {name: MNLI, dataset: mnli, benchmark: matched, metric: accuracy}
    averages: [{name: All, columns: [CoLA, MNLI]}]
    figures: {parameters: [All], lambda: [CoLA]}
"""
TABLE = "results/table_glue.csv"


class Project:
    def __init__(self, folder: Path):
        self.folder = folder

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def link_library(self) -> None:
        """The real scripts import hra from beside the Snakefile."""
        (self.folder / "hra").symlink_to(ROOT / "hra")

    def snakemake(self, *arguments: str, ok: bool = True) -> str:
        """Run Snakemake here; returns what it printed."""
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, output
        return output

    def plan(self, *targets: str, config: str = "small.yaml", extra: tuple[str, ...] = ()) -> dict[str, set[str]]:
        """What a dry-run would do: rule -> `key=value` wildcards of its jobs."""
        output = self.snakemake("-n", "--cores", "1", "--configfile", config, *extra, "--", *(targets or (TABLE,)))
        planned: dict[str, set[str]] = {}
        rule = None
        for line in output.splitlines():
            if found := re.match(r"(?:local)?rule (\w+):", line):
                rule = found[1]
                planned.setdefault(rule, set())
            elif rule and (found := re.match(r"\s+wildcards: (.*)", line)):
                planned[rule].add(found[1].replace(", ", " "))
        return planned

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Project:
    """A project in which nothing has been made."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_symlink():
            (folder / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    (folder / "small.yaml").write_text(SMALL)
    return Project(folder)


@pytest.fixture(scope="session")
def finished(fresh, tmp_path_factory) -> Project:
    """The small grid, made by stand-ins of the scripts: every output and every piece of Snakemake's bookkeeping."""
    project = fresh.copy(tmp_path_factory.mktemp("finished") / "project")
    for script in (project.folder / "workflow/scripts").glob("*.py"):
        script.write_text(STAND_IN)
    project.snakemake("--cores", "2", "--configfile", "small.yaml", "-q", "all", "--", TABLE)
    return project


@pytest.fixture
def done(finished, tmp_path) -> Project:
    """A copy of the finished project, for one test to change."""
    return finished.copy(tmp_path / "project")
