"""The HTML report: its numbers are the tables', it needs no other file, and a browser opens it without an error."""

import difflib
import itertools
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from lxml import html
from PIL import Image

import collect_runs
import factories
import figures
import table
from hra_results import examples, html_page, report, runs
from hra_workflow.commands.main import main
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.report import run_statistics
from reports import RUNS, WIDE, browse, facts_of, write_report
from support import ROOT

FINISHED = ("full/all", "hra/r8")
LOG = "step 10\nout of memory <here>"


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
        "time": "2026-11-26T10:00:00Z",
    }
    files.write_json(expected[2]["errors"][1], failure | {"log": str(folder / "train.log")})
    scores = {"last": [0.1, 0.2], "best_on_dev": [0.3, 0.2]}
    texts = [f"a <script>film</script> no. {item}" for item in range(8)]
    lines = [{"item": item, "sentence": text, "label": item % 2} | scores for item, text in enumerate(texts)]
    predictions.write(Path(paths[1][1][0]).with_name("predictions.jsonl.gz"), lines)
    Image.new("RGB", (400, 300), "red").save(folder / "sheet.png")
    files.write_text(folder / "tune_glue.csv", "device_seconds,device\n1800,NVIDIA H100\n,\n")
    collect_runs.main(factories.collect_job(folder, expected, paths, incomplete=True))
    compared = ["SST-2", "best_on_dev", "full/all", "hra/r8", "1.5", "-0.5", "3.5", "0.1", "0.3", "0.9", "300", "3"]
    pairs = pd.DataFrame([compared], columns=factories.COMPARED[: len(compared)]).reindex(columns=factories.COMPARED)
    files.write_text(folder / "compare_glue.csv", pairs.to_csv(index=False))
    table.main(factories.table_job(folder, expected, ROOT / "config/published/glue.csv"))
    drawn = factories.figures_job(folder, expected, [path for path, _ in paths])
    drawn["params"] |= {"parameters": ["SST-2"]}
    figures.main(drawn)
    write_report(folder, glue=facts_of(folder, expected))
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
    assert "SST-2 ↑" in [text(cell) for cell in page.xpath("//section[@id='glue']//thead")[0].iter("th")]


def test_the_first_screen_is_the_verdict_and_one_figure(page):
    head = page.find(".//header")
    verdict = text(head.find_class("verdict")[0])
    sentence = "HRA r=8, λ=0: 82.33; Full fine-tuning: 81.28 (−1.50 [−3.50, 0.50], p = 0.300, not significant)."
    assert verdict.startswith(f"Text classification, SST-2: {sentence} Highest mean of a trained run: ")
    words, figure = head.find_class("overview")[0]  # next to each other, where there is room
    assert ([one.tag for one in words], figure.tag) == (["p", "nav", "dl"], "figure")
    assert "2 finished, 1 failed, 0 missing" in text(head) and "dddddddddddd (2 runs)" in text(head)
    assert "0.57 device hours on NVIDIA H100, 0.50 of them for tuning" in text(head)
    assert "2026-11-25T10:00:00Z to 2026-11-25T10:02:03Z" in text(head)


def test_the_command_to_reproduce_is_complete(made, page):
    part = page.get_element_by_id("reproduce")
    assert part.find(".//pre").text_content().splitlines() == [
        f"git checkout {'d' * 40}",
        "make install",
        ". .venv/bin/activate",
        "snakemake --cores all --configfile mine.yaml -- glue",
        "hra-workflow report mine.yaml",
    ]
    assert "saved there as mine.yaml, and with the local files of glue: sst2:" in text(part)
    assert part.xpath(".//details//code")[0].text_content() == "tasks:\n  math: null\n"


def test_a_failed_run_is_shown_with_its_error_and_the_end_of_its_log(page):
    failure = page.get_element_by_id("failures")
    assert "CUDA <out of memory>" in text(failure) and failure.find(".//pre").text_content() == LOG
    (row,) = page.xpath("//section[@id='glue']//tr[td[4]='failed']")
    assert [text(cell) for cell in row][:5] == ["LoRA r=8", "sst2", "0", "failed", "–"]


def test_a_run_has_provenance_curve_and_predictions_with_their_inputs(page):
    run = page.get_element_by_id("glue-sst2-hra-r8-0")
    assert "2,655,208 bytes" in text(run) and "a" * 64 in text(run)
    assert len(run.xpath(".//*[local-name()='polyline']/@points")[0].split()) == 12
    classes = [[text(cell) for cell in row] for row in run.xpath(".//table[thead//th[1]='Class']/tbody/tr")]
    assert classes == [
        ["<bad>", "4", "0.5000", "1.0000", "0.6667", "–"],
        ["good", "4", "–", "0.0000", "0.0000", "<bad> (4)"],
    ]
    shown = [[text(cell) for cell in row] for row in run.xpath(".//div[@class='examples']//tbody/tr")]
    assert shown[0] == ["a <script>film</script> no. 0", "<bad>", "<bad> (0.525)", "good (0.525)"] and len(shown) == 4


def test_the_page_needs_no_network_and_runs_only_its_own_script(made, page):
    urls = page.xpath("//@src | //link/@href | //*[local-name()='image']/@*[local-name()='href']")
    assert len(urls) >= 3 and all(url.startswith("data:") for url in urls)
    targets = {element.get("id") for element in page.iter() if element.get("id")}
    links = page.xpath("//a/@href")
    assert links and all(link.startswith("#") and link[1:] in targets for link in links)
    assert page.xpath("//script/@type") == ["application/json"] and len(page.xpath("//script[not(@type)]")) == 1
    assert not page.xpath("//@*[starts-with(name(), 'on')]")
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"url\(|@import", page.findtext(".//style"))


def lines_of(page: Path) -> list[str]:
    return page.read_text().replace("><", ">\n<").splitlines()


def test_a_copied_folder_has_the_page_without_what_was_outside_it(made, tmp_path, monkeypatch, capsys):
    project, copied = tmp_path / "project", tmp_path / "elsewhere/mine"
    shutil.copytree(made, project / "results")
    expected = [factories.entry(Path("results"), "sst2", run) for run in RUNS]
    facts = facts_of(Path("results"), expected)
    monkeypatch.chdir(project)
    before = lines_of(write_report(Path("results"), glue=facts))
    copied.parent.mkdir()
    (project / "results").rename(copied)
    monkeypatch.chdir(tmp_path)
    (copied / "report.html").unlink()
    assert main(["report", "elsewhere/mine", "--to", "page.html"]) == 0
    assert "page.html: everything in one file" in capsys.readouterr().out
    assert not (copied / "report.html").exists()
    changes = [line for line in difflib.ndiff(before, lines_of(tmp_path / "page.html")) if line[0] in "-+"]
    left = "The end of|step 10|out of memory|</?pre>|</?code>|</p>"
    assert not [line for line in changes if not re.search(rf"^- .*({left})", line)]


def test_a_task_without_results_is_left_out_and_a_report_without_any_is_an_error(made, tmp_path):
    some, none = ([factories.entry(folder, "sst2", "hra/r8")] for folder in (made, tmp_path))
    none[0]["seed"] = 7
    parts = {"glue": facts_of(made, some), "math": facts_of(made, none)}
    sections = html.parse(str(write_report(tmp_path, **parts))).xpath("//main/section/@id")
    assert sections == ["glue", "all-runs", "reproduce"]
    with pytest.raises(JobError, match="expected the results of at least one run of math, found none"):
        write_report(tmp_path, math=parts["math"])


def test_a_narrow_browser_opens_it_without_errors_and_sorts_a_table(made, page, tmp_path):
    clicks = (
        "document.querySelectorAll('#glue thead th button')[1].click();"
        "document.querySelectorAll('#glue-runs ~ .scroll thead th button')[6].click();"
        f"document.body.dataset.sideways = [document.body, ...document.querySelectorAll('.scroll')].{WIDE}"
    )
    shown_page = browse(tmp_path, made / "report.html", clicks)
    assert shown_page.xpath("//body/@data-sideways") == [""]  # nothing scrolls sideways
    first = shown_page.xpath("//section[@id='glue']//table")[0]
    assert "SST-2 ↑" in first.xpath(".//td/@data-label")
    assert first.xpath(".//th[@aria-sort='ascending']/button/text()") == ["Params (M) ↓"]
    runs = shown_page.xpath("//h3[@id='glue-runs']/following-sibling::div[1]/table")[0]
    assert runs.xpath("./tbody/tr/td[7]/text()") == ["663,552", "184,000,000", "–"]
    shown, before = (
        [[text(cell) for cell in row] for row in one.xpath(".//section[@id='glue']//table")[0].xpath(".//tbody/tr")]
        for one in (shown_page, page)
    )
    assert pairs(shown) == pairs(before) and len(pairs(shown)) > 1 and shown != before


def pairs(rows: list[list[str]]) -> set[tuple]:
    """Return the paper's rows, each with the row above it."""
    return {(tuple(above), tuple(row)) for above, row in itertools.pairwise(rows) if not row[0]}


def test_the_headline_is_on_the_best_run_that_is_no_baseline():
    names = ["selection", "run", "SST-2", "SST-2_std", "SST-2_published", "SST-2_better", "SST-2_verdict"]
    rows = [
        ("last", "full/all", "99.00", "", "", "higher", "A"),
        ("best_on_dev", "hra/r8", "91.00", "", "", "higher", "B"),
        ("best_on_dev", "lora/r8", "92.00", "0.50", "93.00", "higher", ""),
        ("best_on_dev", "full/all", "91.50", "", "", "higher", "C"),
    ]
    facts = {"selection": "best_on_dev", "trained": RUNS, "labels": factories.LABELS, "baselines": RUNS[::2]}

    def headline(first: int = 0, last: int = 4, **changes: str) -> dict | None:
        return report.headline(pd.DataFrame(rows[first:last], columns=names).assign(**changes), "SST-2", facts)

    found = headline()
    assert (found["label"], found["value"], found["published"]) == ("LoRA r=8", "92.00 ± 0.50", "93.00")
    assert [headline(*part)["verdict"] for part in ((), (2,), (2, 3))] == ["B", "C", None]
    assert headline(**{"SST-2": ""}) is None
    for better in ("higher", "lower"):  # of equal runs the first one, as for --run best
        assert headline(1, **{"SST-2": "92.00", "SST-2_better": better})["label"] == "HRA r=8, λ=0"


def layers(folder: str) -> list[dict]:
    return [{"angle": angle, "orthogonality": angle + 1} for angle in (0.5, 0.0)]


def test_the_rotation_of_an_adapter_s_layers_is_summarised(tmp_path):
    found = runs.rotation(tmp_path, f"{__name__}:layers")
    assert found["layers"] == len(found["points"].split()) == 2
    assert (found["largest"]["angle"], found["smallest"], found["orthogonality"]) == (0.5, 0.0, (1.0, 1.5))


def test_the_last_epoch_s_images_are_shown_with_their_prompts(tmp_path):
    record = dict.fromkeys(("task", "dataset", "method", "variant", "seed"), "x")
    records.write(tmp_path / "train.json", record | {"status": "ok", "weights_sha256": {}})
    pictures = [
        images.Picture(
            f"{step}-{colour}", images.to_png(Image.new("RGB", (64, 64), colour)), {"step": step, "key": colour}
        )
        for step, colour in ((1, "red"), (2, "red"), (2, "blue"))
    ]
    images.pack(tmp_path / "b/images.tar", pictures, head={"result": "x/x/x/x/x/b", "weights": {}, "settings": {}})
    lines = [one.about | {"prompt": f"a {one.about['key']} ball", "iou": one.about["step"] / 4} for one in pictures]
    predictions.write(tmp_path / "b/predictions.jsonl.gz", lines)
    shown = examples.chosen("subject", tmp_path / "b", {"metrics": ["iou"]}, {"images": True, "titles": {}})
    assert [one["texts"] for one in shown] == [{"prompt": f"a {one} ball", "iou": "0.5"} for one in ("red", "blue")]
    assert [one["url"] for one in shown] == [
        html_page.image(Image.new("RGB", (64, 64), colour), 160, 70) for colour in ("red", "blue")
    ]
