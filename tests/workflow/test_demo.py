"""`make demo` and `hra-workflow demo all`, as a user types them: the whole pipeline with a real encoder. Minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

import results_contract
from project import environment
from support import ROOT, table_rows

MAJORITY, FIDELITY = 50.0, "Subject fidelity (EfficientNet for DINO)"


@pytest.mark.full
@pytest.mark.timeout(2700)
def test_the_demo_and_the_whole_demo_print_tables_in_which_every_method_has_learned():
    run_demo("make", "demo", "READY=", f"VENV={sys.prefix}")
    tables = ROOT / "demo/results"
    check_glue(tables, "Sentiment")
    check_control(tables, "Classes mIoU", most=95, margin=10)
    run_demo("hra-workflow", "demo", "all")
    assert {"head/linear", "lora/r8", "hra/r8", "full/all"} <= set(read_table(tables, "glue", "best_on_dev"))
    check_glue(tables, "Sentiment")
    assert {"full/all", "lora/r8", "hra/r8"} < set(check_math(tables))
    assert {"lora/r8", "hra/r8"} < set(check_subject(tables))
    check_control(tables, "Classes mIoU", most=95, margin=10)
    followed = check_control(tables, "Edges IoU", most=0.95, margin=0.03)
    error = {run: float(row["Points error (px, missing points farthest)"]) for run, row in followed.items()}
    assert max(error["lora/r8"], error["hra/r8"]) < error["base/pretrained"] / 1.5, error
    assert list(results_contract.problems(tables)) == []


def run_demo(*command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=environment(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "HRA" in done.stdout and "Notes: " in done.stdout
    assert "(Rule: train_glue)" in done.stdout  # no progress bar, as this is no terminal


def read_table(tables: Path, task: str, selection: str) -> dict[str, dict]:
    """Map `method/variant` to its row, and check that nothing is missing."""
    rows = table_rows(tables / f"table_{task}.csv")
    table = {row["run"]: row for row in rows if row["selection"] == selection}
    assert not any(row["missing"] for row in table.values())
    return table


def check_glue(tables: Path, name: str) -> None:
    score = {run: float(row[name]) for run, row in read_table(tables, "glue", "best_on_dev").items() if row[name]}
    assert min(score.values()) > MAJORITY, score
    # The point of an adapter: clearly better than only a classifier.
    assert score["hra/r8"] > score["head/linear"] + 5, score


def check_math(tables: Path) -> dict[str, dict]:
    """The base solves problems of one step; these take two and three."""
    table = read_table(tables, "math", "last")
    score = {run: float(row["Word problems (strict)"]) for run, row in table.items()}
    assert score.pop("base/pretrained") < 10 and min(score.values()) > 15, score
    return table


def check_subject(tables: Path) -> dict[str, dict]:
    """Check that subject fidelity clearly improves for an unseen subject, while prompt fidelity remains."""
    table = read_table(tables, "subject", "last")
    for run, row in table.items():
        if run not in ("base/pretrained", "real/images"):
            base, own, real = (float(table[one][FIDELITY]) for one in ("base/pretrained", run, "real/images"))
            assert base + 0.05 < own < real, (run, base, own, real)
            assert float(row["Prompt fidelity (position and background in pixels)"]) > 0.6, row  # by chance 0.2
    return table


def check_control(tables: Path, name: str, most: float, margin: float) -> dict[str, dict]:
    """Captions do not tell where the object is; the hint does."""
    table = read_table(tables, "control", "last")
    score = {run: float(row[name]) for run, row in table.items()}
    assert score.pop("real/images") > most
    base = score.pop("base/pretrained")
    assert min(score.values()) > base + margin, (base, score)
    return table
