"""The real Snakefile, rules and config in a separate folder, with dummy scripts that only touch their outputs."""

import pytest

from project import Project
from support import paper_config

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
  math: {retention: {runs: [base/pretrained], resources: {gpu: 0}}}
"""
TABLES = ("results/table_glue.csv", "results/table_retention.csv")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Project:
    """Provide a project without results."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    project = Project.fresh(folder)
    (folder / "small.yaml").write_text(SMALL)
    return project


@pytest.fixture(scope="session")
def finished(fresh, tmp_path_factory) -> Project:
    """Provide the small grid, finished by dummy scripts: every output and all of Snakemake's bookkeeping."""
    project = fresh.copy(tmp_path_factory.mktemp("finished") / "project")
    project.stand_in()
    project.snakemake("--cores", "2", "--configfile", "small.yaml", "-q", "all", "--", *TABLES)
    return project


@pytest.fixture
def done(finished, tmp_path) -> Project:
    """Provide a copy of the finished project for one test to change."""
    return finished.copy(tmp_path / "project")


@pytest.fixture
def config() -> dict:
    """Load the config as the Snakefile does."""
    return paper_config()
