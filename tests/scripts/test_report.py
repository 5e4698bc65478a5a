"""The HTML report: its numbers are the tables', it needs no other file, and a browser opens it without an error."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from lxml import html
from PIL import Image

import collect_runs
import cost
import factories
import figures
import report
import table
from hra_workflow import tasks
from hra_workflow.config import overlays
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.methods import METHODS
from hra_workflow.report import html_page, run_statistics
from hra_workflow.tasks.images import ImageEvaluation
from support import ROOT, paper_config, require

RUNS = ("full/all", "hra/r8", "lora/r8")
FINISHED = ("full/all", "hra/r8")
LOG = "step 10\nout of memory <here>"


def facts_of(folder: Path, expected: list[dict]) -> dict:
    """Build the params of a report on the grid, whose tables are in `folder`."""
    labels = {run: factories.LABELS[run] for run in RUNS}
    dataset = {"columns": ["sentence"], "labels": ["<bad>", "good"], "metrics": ["accuracy"]}
    return {
        "title": "Text classification",
        "model": "tiny",
        "labels": labels,
        "colours": factories.COLOURS,
        "trained": list(labels),
        "plotted": {"parameters": ["SST-2"], "lambda": []},
        "lower": [],
        "selection": "best_on_dev",
        "published": True,
        "datasets": {"sst2": dataset | {"inputs": {"dev": str(folder / "dev.parquet")}}},
        "tables": [str(folder / "table_glue.csv")],
        "comparison": str(folder / "compare_glue.csv"),
        "figures": {name: str(folder / f"{name}.svg") for name in ("parameters", "pareto", "curves")},
        "sheets": {"sst2": str(folder / "sheet.png")},
        "expected": [run | {"folder": str(folder / place(run)), "measure": None} for run in expected],
    }


def place(run: dict) -> str:
    return f"glue/{run['dataset']}/{run['method']}/{run['variant']}/seed{run['seed']}"


def job_of(folder: Path, **tasks: dict) -> dict:
    params = {"tasks": tasks, "changes": "tasks:\n  math: null\n"}
    return {"rule": "report", "output": {"html": str(folder / "report.html")}, "params": params, "log": ""}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Write a report on three runs: two have finished, LoRA's has failed."""
    folder = tmp_path_factory.mktemp("report")
    expected = [factories.entry(folder, "sst2", run) for run in RUNS]
    finished = [run for run in expected if f"{run['method']}/{run['variant']}" in FINISHED]
    paths = [factories.write(folder, run, factories.noisy_curve(run)) for run in finished]
    (folder / "train.log").write_text(LOG)
    failure = {
        "status": "failed",
        "rule": "train_glue",
        "error": "CUDA <out of memory>",
        "log": str(folder / "train.log"),
    }
    files.write_json(expected[2]["errors"][1], failure | {"time": "2026-11-26T10:00:00Z"})
    lines = [{"item": item, "label": item % 2, "last": [0.1, 0.2], "best_on_dev": [0.3, 0.2]} for item in range(8)]
    predictions.write(Path(paths[1][1][0]).with_name("predictions.jsonl.gz"), lines)
    pd.DataFrame({"sentence": [f"a <script>film</script> no. {item}" for item in range(8)]}).to_parquet(
        folder / "dev.parquet"
    )
    Image.new("RGB", (400, 300), "red").save(folder / "sheet.png")
    collect_runs.main(factories.collect_job(folder, expected, paths, incomplete=True))
    table.main(factories.table_job(folder, expected, ROOT / "config/published/glue.csv"))
    drawn = factories.figures_job(folder, expected, [path for path, _ in paths])
    drawn["params"] |= {"parameters": ["SST-2"]}
    cost.main(factories.cost_job(folder, expected))
    figures.main(drawn)
    report.main(job_of(folder, glue=facts_of(folder, expected)))
    return folder


@pytest.fixture
def page(made) -> html.HtmlElement:
    return html.parse(str(made / "report.html")).getroot()


def text(element) -> str:
    return " ".join(element.text_content().split())


def test_the_tables_have_every_number_of_the_csv(made, page):
    cells = {text(cell) for cell in page.xpath("//section[@id='glue']//td")}
    rows = run_statistics.read_csv(made / "table_glue.csv")
    numbers = {row[name] for _, row in rows.iterrows() for name in ("SST-2", "params_M") if row[name]}
    assert len(numbers) > 4 and numbers <= cells
    assert "SST-2" in [text(cell) for cell in page.xpath("//section[@id='glue']//thead")[0].iter("th")]


def test_the_first_screen_says_what_ran(page):
    head = text(page.find(".//header"))
    assert "2 finished, 1 failed, 0 missing" in head
    assert "dddddddddddd (2 runs)" in head and "0.07 device hours on NVIDIA H100" in head
    assert "2026-11-25T10:00:00Z to 2026-11-25T10:02:03Z" in head


def test_a_diverged_run_is_named_with_its_error_and_without_a_score(tmp_path):
    expected = factories.entry(tmp_path, "sst2", "hra/r8")
    record, evaluations = factories.write(tmp_path, expected, [0.9])
    records.write(record, factories.diverged(expected))
    run = report.run_of("glue", facts := facts_of(tmp_path, [expected]), facts["expected"][0])
    assert (run["state"], run["evaluations"], run["curve"], run["record"]) == ("diverged", [], None, None)
    assert [failure["error"] for failure in run["failures"]] == ["the training loss is nan at step 7"]
    factories.write(tmp_path, expected, [0.9])  # trained again, but not yet evaluated
    records.write(evaluations[0], {"status": "diverged", "error": "", "seconds": 0.0, "device": ""})
    assert report.run_of("glue", facts, facts["expected"][0])["state"] == "missing"


@pytest.mark.parametrize(("p", "alike"), [(0.2, True), (0.01, False)])
def test_the_headline_names_runs_that_are_not_distinguishable_from_the_best(p, alike):
    names = ["selection", "run", "SST-2", "SST-2_std", "SST-2_published"]
    rows = [("last", "full/all", "99.00", "", ""), ("best_on_dev", "hra/r8", "91.00", "0.50", "93.00")]
    rows += [("best_on_dev", "lora/r8", "90.00", "", ""), ("best_on_dev", "base/pretrained", "95.00", "", "")]
    pair = pd.DataFrame([("SST-2", "best_on_dev", "hra/r8", "lora/r8", str(p))], columns=factories.COMPARED)
    facts = {"selection": "best_on_dev", "trained": RUNS, "labels": factories.LABELS, "lower": []}
    found = report.headline(pd.DataFrame(rows, columns=names), pair, "SST-2", facts)
    assert (found["label"], found["value"], found["published"]) == ("HRA r=8, λ=0", "91.00 ± 0.50", "93.00")
    assert found["alike"] == ["LoRA r=8"] * alike and not found["untested"]
    assert report.headline(pd.DataFrame(rows, columns=names), pair[:0], "SST-2", facts)["untested"]


def test_a_failed_run_is_shown_with_its_error_and_the_end_of_its_log(page):
    failure = page.get_element_by_id("failures")
    assert "CUDA <out of memory>" in text(failure) and failure.find(".//pre").text_content() == LOG
    (row,) = page.xpath("//section[@id='glue']//tr[td[4]='failed']")
    assert [text(cell) for cell in row][:5] == ["LoRA r=8", "sst2", "0", "failed", "–"]


def test_a_run_has_provenance_curve_and_predictions_with_their_inputs(page):
    run = page.get_element_by_id("glue-sst2-hra-r8-0")
    assert "2,655,208 bytes" in text(run) and "a" * 64 in text(run)
    assert len(run.xpath(".//*[local-name()='polyline']/@points")[0].split()) == 12
    shown = [[text(cell) for cell in row] for row in run.xpath(".//div[@class='examples']//tbody/tr")]
    assert shown[0] == ["a <script>film</script> no. 0", "<bad>", "<bad>", "good"] and len(shown) == 4


def test_the_rotation_of_hras_layers_is_summarised(tmp_path):
    import peft
    import torch

    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    peft.get_peft_model(base, peft.HRAConfig(r=2, target_modules=["0", "1"])).save_pretrained(tmp_path)
    found = report.rotation(tmp_path, METHODS["hra"].adapter.measure)
    assert found["layers"] == 2 and len(found["points"].split()) == 2
    # Columns are drawn in equal pairs, whose reflections cancel: no rotation, and UᵀU is all ones.
    assert found["largest"]["angle"] == pytest.approx(0, abs=1e-4)
    assert found["orthogonality"] == pytest.approx((2**0.5, 2**0.5))


def test_the_page_needs_no_network_and_runs_only_its_own_script(made, page):
    urls = page.xpath("//@src | //link/@href | //*[local-name()='image']/@*[local-name()='href']")
    assert len(urls) >= 4 and all(url.startswith("data:") for url in urls)
    targets = {element.get("id") for element in page.iter() if element.get("id")}
    links = page.xpath("//a/@href")
    assert links and all(link.startswith("#") and link[1:] in targets for link in links)
    assert len(page.xpath("//script")) == 1 and not page.xpath("//@*[starts-with(name(), 'on')]")
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"url\(|@import", page.findtext(".//style"))


def test_the_terminal_names_the_report(made):
    command = [sys.executable, ROOT / "workflow/scripts/print_table.py", made / "table_glue.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"})
    assert f"{made / 'report.html'} everything in one file" in " ".join(done.stdout.split())


def test_figures_and_sheets_have_captions(page):
    captions = [text(caption) for caption in page.xpath("//div[@class='figures']//figcaption")]
    begin = ["Adapter parameters against SST-2", "Device time and peak memory against SST-2", "During training", "sst2"]
    assert len(captions) == 4 and all(one.startswith(start) for one, start in zip(captions, begin, strict=True))


def test_a_figure_without_results_is_left_out():
    facts = {"plotted": {"parameters": ["SST-2"], "lambda": []}, "published": False}
    facts["figures"] = {"curves": "/nowhere/curves.svg"}
    assert report.figures(facts, [{"curve": None}]) == []


def test_a_task_without_results_is_left_out_and_a_report_without_any_is_an_error(made, tmp_path):
    some, none = ([factories.entry(folder, "sst2", "hra/r8")] for folder in (made, tmp_path))
    none[0]["seed"] = 7
    parts = {"glue": facts_of(made, some), "math": facts_of(made, none)}
    report.main(job_of(tmp_path, **parts))
    assert html.parse(str(tmp_path / "report.html")).xpath("//main/section/@id") == ["glue", "reproduce"]
    with pytest.raises(JobError, match="expected the results of at least one run of math, found none"):
        report.main(job_of(tmp_path, math=parts["math"]))


def test_images_are_shown_with_their_prompts(tmp_path):
    colours = ["red", "lime", "blue"]
    pictures = [
        images.Picture(
            f"row{row:06d}", images.to_png(Image.new("RGB", (64, 64), colour)), {"row": row, "key": f"k{row}"}
        )
        for row, colour in enumerate(colours)
    ]
    images.pack(tmp_path / "images.tar", pictures)
    lines = [{"key": f"k{row}", "prompt": f"a {colour} ball", "iou": row / 4} for row, colour in enumerate(colours)]
    predictions.write(tmp_path / "predictions.jsonl.gz", lines)
    image_task = next(name for name, one in tasks.classes().items() if issubclass(one.evaluation, ImageEvaluation))
    shown = report.examples(image_task, tmp_path, {"metrics": ["iou"]}, None)
    assert [one["texts"] for one in shown] == [
        {"prompt": f"a {colour} ball", "iou": f"{row / 4:.3g}"} for row, colour in enumerate(colours)
    ]
    assert [one["url"] for one in shown] == [html_page.image(picture.image, 160, 70) for picture in pictures]


def test_the_last_epochs_images_of_a_subject_are_shown(tmp_path):
    def about(step: int) -> dict:
        return {"step": step, "prompt_index": 0, "index": 0, "prompt": "a ball"}

    shades = {1: "black", 2: "white"}
    pictures = [
        images.Picture(f"step{step}", images.to_png(Image.new("RGB", (8, 8), shade)), about(step))
        for step, shade in shades.items()
    ]
    images.pack(tmp_path / "images.tar", pictures)
    predictions.write(tmp_path / "predictions.jsonl.gz", [about(step) | {"key": f"step{step}"} for step in shades])
    image_task = next(name for name, one in tasks.classes().items() if issubclass(one.evaluation, ImageEvaluation))
    (shown,) = report.examples(image_task, tmp_path, {"metrics": []}, None)
    assert shown["url"] == html_page.image(Image.new("RGB", (8, 8), "white"), 160, 70)


def test_the_changes_merged_over_the_papers_config_are_the_config():
    from yaml import safe_load

    of_tasks = [file for name in tasks.classes() for file in sorted((ROOT / "config" / name).glob("*.yaml"))]
    changes = partial(overlays.changes, shipped=[ROOT / "config/config.yaml", ROOT / "config/methods.yaml", *of_tasks])
    config = paper_config()
    assert changes(config) == ""
    for name in ("config", "quick"):
        config = overlays.merged(config, overlays.read(ROOT / f"config/demo/{name}.yaml"))
    assert overlays.merged(paper_config(), safe_load(changes(config))) == config
    config["mirror"] = "https://me:secret@mirror.example/data"
    assert safe_load(changes(config))["mirror"] == "https://mirror.example/data"
    del config["tasks"]["math"]
    assert safe_load(changes(config))["tasks"]["math"] is None


def test_a_browser_opens_it_without_errors_and_sorts_a_table(made, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    require(bool(browser), "needs Chromium (Debian: chromium)")
    clicks = "<script>document.querySelectorAll('#glue thead th button')[1].click()</script>"
    clicked = tmp_path / "clicked.html"
    clicked.write_text((made / "report.html").read_text().replace("</body>", f"{clicks}</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--enable-logging=stderr", "--dump-dom", clicked.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "CONSOLE" not in done.stderr, done.stderr  # neither errors nor requests that the page's policy refuses
    first = html.fromstring(done.stdout).xpath("//section[@id='glue']//table")[0]
    assert first.xpath(".//th[@aria-sort='ascending']/button/text()") == ["Params (M)"]
    rows = run_statistics.read_csv(made / "table_glue.csv")
    ours = rows[(rows["selection"] == "best_on_dev") & (rows["params_M"] != "")]
    shown = [[text(cell) for cell in row] for row in first.xpath(".//tbody/tr")]
    assert [cells[2] for cells in shown if cells[1] == "ours" and cells[2] != "–"] == sorted(
        ours["params_M"], key=float
    )
    # The paper's row stays below ours of the same method.
    source = html.parse(str(made / "report.html")).xpath("//section[@id='glue']//table")[0]
    before = [[text(cell) for cell in row] for row in source.xpath(".//tbody/tr")]
    assert pairs(shown) == pairs(before) and len(pairs(shown)) > 1 and shown != before


def pairs(rows: list[list[str]]) -> set[tuple]:
    """Return the paper's rows, each with the row above it."""
    return {(tuple(above), tuple(row)) for above, row in itertools.pairwise(rows) if not row[0]}
