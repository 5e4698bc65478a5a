"""Jobs of the report, and Chromium, which opens it."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lxml import html

import factories
from support import require

RUNS = ("full/all", "hra/r8", "lora/r8")
WIDE = "filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerHTML.slice(0, 200)).join()"  # scrolls sideways


def facts_of(folder: Path, expected: list[dict], runs: Iterable[str] = RUNS) -> dict:
    """Build the params of a report on the grid, whose tables are in `folder`. runs: `method/variant` of the grid."""
    labels = {run: factories.LABELS[run] for run in runs}
    dataset = {"columns": ["sentence"], "labels": ["<bad>", "good"], "metrics": ["accuracy"]}
    return {
        "title": "Text classification",
        "model": "tiny",
        "labels": labels,
        "colours": factories.COLOURS,
        "trained": list(labels),
        "baselines": ["full/all", "lora/r8"],
        "data": [str(folder / "sst2.manifest.json")],
        "benchmarks": [
            {"dataset": "sst2", "split": "validation"} | dict.fromkeys(("benchmark", "train", "reported"), "")
        ],
        "functions": [],
        "plotted": {"parameters": ["SST-2"], "lambda": []},
        "local": ["sst2"],
        "selection": "best_on_dev",
        "published": True,
        "datasets": {"sst2": dataset | {"inputs": {"dev": str(folder / "dev.parquet")}, "scores": {}}},
        "runs": str(folder / "runs_glue.csv"),
        "better": [["dev", "accuracy", "higher"]],
        "tables": [str(folder / "table_glue.csv")],
        "trials": [str(folder / "tune_glue.csv")],
        "figures": {name: str(folder / f"{name}.svg") for name in ("parameters", "pareto", "curves")},
        "sheets": {"sst2": str(folder / "sheet.png")},
        "expected": [run | {"folder": str(folder / place(run)), "measure": None} for run in expected],
    }


def place(run: dict) -> str:
    return f"glue/{run['dataset']}/{run['method']}/{run['variant']}/seed{run['seed']}"


def job_of(folder: Path, **tasks: dict) -> dict:
    params = {"tasks": tasks, "changes": "tasks:\n  math: null\n"}
    return {"rule": "report", "output": {"html": str(folder / "report.html")}, "params": params, "log": ""}


def browse(folder: Path, page: Path, script: str, fragment: str = "") -> html.HtmlElement:
    """Open a page in a narrow Chromium, run a script at its end, and return the document; it must raise no error."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    require(bool(browser), "needs Chromium (Debian: chromium)")
    scripted = folder / "scripted.html"
    scripted.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--enable-logging=stderr", "--window-size=500,800", "--dump-dom", scripted.as_uri() + fragment],
        capture_output=True,
        text=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr  # neither errors nor requests that the page's policy refuses
    return html.fromstring(done.stdout)
