"""Fixtures of the studies' tests."""

import os
import re
from operator import eq
from pathlib import Path

import pandas as pd
import pytest

from project import Project
from sums import SUMS, TINY_LLAMA, write_sums
from support import ROOT, downloaded


@pytest.fixture(scope="session")
def tiny_math(tmp_path_factory):
    """Manifests of a tiny language model and a set of sums."""
    root = tmp_path_factory.mktemp("math")
    write_sums(root / "raw")
    return downloaded(root, TINY_LLAMA, "math/sums", SUMS)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """Provide a copy of the workflow without results, whose jobs can import the studies."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    return Project.fresh(tmp_path / "project")


@pytest.fixture(scope="session")
def planned():
    """Provide a function that compares the plan of a study with its page."""

    def check(project: Project, study: Path, table: str, parts: list[str]) -> None:
        output = project.snakemake("-n", "--cores", "1", "--configfile", str(study / "config.yaml"), "--", table)
        plan = output[output.index(f"{table}: ") :]
        page = (study / "README.md").read_text()
        jobs, runs = re.search(r"The plan has (\d+) jobs, of which (\d+) are training runs", page).groups()
        assert plan.startswith(f"{table}: {jobs} jobs (0 done), including {runs} training runs"), plan
        for part in ("GPU-hours", *parts):
            assert part in plan, (part, plan)

    return check


@pytest.fixture(scope="session")
def check_rows():
    """Provide a function that compares a page's rows of others' experiments with the published results."""

    def check(study: Path, metric: str) -> None:
        text = (study / "README.md").read_text()
        head = rf"^\| \| trained parameters \(M\) \| {metric} .*\n\|.*\n((?:\|.*\n)+)"
        (table,) = re.findall(head, text, re.MULTILINE)
        cells = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        shown_rows = [row for row in cells if "not run yet" not in row]
        published = pd.read_csv(study / f"results/{study.name}.csv")
        experiments = [[rows["params_M"].iloc[0], *rows["value"]] for _, rows in published.groupby("run")]
        assert f"{len(experiments)} experiments are published" in " ".join(text.split())
        assert f"The other {len(experiments) - len(shown_rows)} are in [results/{study.name}.csv]" in text
        for label, *numbers in shown_rows:
            shown = [number.replace(",", "") for number in numbers if number != "–"]
            digits = [len(number.partition(".")[2]) for number in shown]
            fitting = [values for values in experiments if len(values) == len(shown)]
            rounded = [[f"{one:.{n}f}" for one, n in zip(values, digits, strict=True)] for values in fitting]
            assert sum(all(map(eq, shown, values)) for values in rounded) == 1, label

    return check


@pytest.fixture(scope="session")
def check_blocks():
    """Provide a function that compares a page's ratios of steps with those of `python -m benchmarks`."""

    def check(study: Path, names: tuple[str, ...]) -> None:
        measured = pd.read_csv(ROOT / "benchmarks/results/blocks.csv")
        for processor, column in (("AMD", 1), ("Intel", 3)):
            for name in names:
                (line,) = re.findall(rf"^\| `?{name}`?.* \|$", (study / "README.md").read_text(), re.MULTILINE)
                shown = [float(cell.strip(" *")) for cell in line.strip("|").split("|")[column : column + 2]]
                rows = measured[measured["case"].str.endswith(name) & measured["machine"].str.startswith(processor)]
                ratios = rows.set_index("dtype")["hra/lora"][["float32", "bfloat16"]]
                assert shown == pytest.approx([*ratios], abs=0.00501), name  # halves are rounded up

    return check
