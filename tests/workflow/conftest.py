"""The real Snakefile, rules and config in a folder of its own, with stand-in scripts that only touch their outputs."""

import pytest

from project import Project

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
    """A project in which nothing has been made."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    project = Project.fresh(folder)
    (folder / "small.yaml").write_text(SMALL)
    return project


@pytest.fixture(scope="session")
def finished(fresh, tmp_path_factory) -> Project:
    """The small grid, made by stand-ins of the scripts: every output and every piece of Snakemake's bookkeeping."""
    project = fresh.copy(tmp_path_factory.mktemp("finished") / "project")
    project.stand_in()
    project.snakemake("--cores", "2", "--configfile", "small.yaml", "-q", "all", "--", *TABLES)
    return project


@pytest.fixture
def done(finished, tmp_path) -> Project:
    """A copy of the finished project, for one test to change."""
    return finished.copy(tmp_path / "project")
