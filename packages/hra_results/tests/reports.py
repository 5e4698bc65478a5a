"""Reports on made-up results, and Chromium, which opens them."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lxml import html

import collect_runs
import factories
import glue_tables
from hra_results import contents, described, report
from hra_workflow.core import files, records
from hra_workflow.report import selections
from support import require

RUNS = ("full/all", "hra/r8", "lora/r8")
WIDE = "filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerHTML.slice(0, 200)).join()"  # scrolls sideways

# A grid of runs of every status, with a label and an error that are HTML.
EVIL = "<img src=x onerror=\"document.title='taken'\">'</script><script>document.title='taken'</script>"
FINISHED = ("head/all", "full/all", "lora/r8", "hra/r8", "adalora/r8", "hra/r8-inf")
OTHERS = ("bitfit/all", "oft/b16", "boft/m2b8")  # failed, outdated, missing
DEVICES = {"full/all": "NVIDIA H200", "lora/r8": "NVIDIA H100"}


def facts_of(folder: Path, expected: list[dict], runs: Iterable[str] = RUNS) -> dict:
    """Build the facts of contents.json about a grid whose tables are in `folder`. runs: its `method/variant`."""
    labels = {run: factories.LABELS[run] for run in runs}
    dataset = {"columns": ["sentence"], "labels": ["<bad>", "good"], "metrics": ["accuracy"]}
    return {
        "title": "Text classification",
        "model": "tiny",
        "labels": labels,
        "colours": factories.COLOURS,
        "trained": list(labels),
        "baselines": ["full/all", "lora/r8"],
        "warnings": ["sst2: the benchmark is <train>"],
        "functions": [],
        "plotted": {"parameters": ["SST-2"], "lambda": []},
        "local": ["sst2"],
        "selection": "best_on_dev",
        "titles": selections.name_splits(["validation"], selections.TITLES),
        "images": False,
        "published": True,
        "datasets": {"sst2": dataset | {"benchmarks": ["dev"], "scores": {}}},
        "runs": str(folder / "runs_glue.csv"),
        "better": [["dev", "accuracy", "higher"]],
        "tables": [str(folder / "table_glue.csv")],
        "trials": [str(folder / "tune_glue.csv")],
        "figures": {name: str(folder / f"{name}.svg") for name in ("parameters",)},
        "sheets": {"sst2": str(folder / "sheet.png")},
        "expected": [run | {"folder": str(folder / place(run)), "measure": None} for run in expected],
    }


def place(run: dict) -> str:
    return f"glue/{run['dataset']}/{run['method']}/{run['variant']}/seed{run['seed']}"


def located(folder: Path, facts: dict) -> dict:
    """Return the facts as the report reads them."""
    return contents.located({"results": str(folder), "tasks": {"glue": facts}}, folder)["tasks"]["glue"]


def write_report(folder: Path, **tasks: dict) -> Path:
    """Write contents.json and the report."""
    params = {"tasks": tasks, "changes": "tasks:\n  math: null\n", "results": str(folder)}
    files.write_json(folder / contents.NAME, described.contents(params))
    report.write(folder, folder / "report.html")
    return folder / "report.html"


def write_varied(folder: Path) -> Path:
    """Write the run table and the report of a grid in which one seed of LoRA and all of AdaLoRA have diverged."""
    expected = glue_tables.grid(folder, ("sst2", "mrpc"), (*FINISHED, *OTHERS), (0, 1, 2))
    paths = []
    for run in expected:
        run["record"]["settings"]["method"] |= {"peft": {"r": 8}, "lambda": 0} if run["method"] == "hra" else {}
        name = f"{run['method']}/{run['variant']}"
        if name not in (*FINISHED, "oft/b16"):
            continue
        seconds = 100.0 + 10 * run["seed"] + len(name)
        changes = {"device": DEVICES.get(name, EVIL), "device_seconds": seconds}
        record, metrics = factories.write(folder, run, factories.noisy_curve(run), **changes)
        if name == "oft/b16":
            records.write(Path(record), records.with_digest(files.read_json(record) | {"task_version": 7}))
        if name == "adalora/r8" or (name, run["seed"]) == ("lora/r8", 2):
            records.write(Path(record), records.with_digest(factories.diverged(run)))
            metrics = []
        paths.append((record, metrics))
    for run in expected:
        if run["method"] == "bitfit":
            files.write_json(
                run["errors"][1],
                {"error": f"out of memory {EVIL}", "rule": "train_glue", "log": "none.log", "time": "now"},
            )
    collect_runs.main(factories.collect_job(folder, expected, paths, incomplete=True))
    glue_tables.make_table(folder, expected)
    facts = facts_of(folder, expected, (*FINISHED, *OTHERS))
    facts["labels"]["hra/r8"] = EVIL
    facts["trained"].remove("head/all")
    facts["datasets"] |= {"mrpc": facts["datasets"]["sst2"] | {"scores": {"dev": "f1"}, "benchmarks": []}}
    facts["datasets"]["sst2"] |= {"scores": {"dev": "accuracy"}, "benchmarks": []}
    empty = {"figures": {}, "sheets": {}, "data": [], "trials": []}
    write_report(folder, glue=facts | empty)
    return folder


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
