"""`hra-workflow diff`: two states are compared by settings, versions, data, code, numbers and items."""

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import factories
from hra_results import html_page, prediction_lines
from hra_results.states.compared_states import Number, with_holm
from hra_workflow.core import files, predictions, records
from hra_workflow.report import run_statistics
from states import edit, edit_run, write_images, write_run
from support import ROOT
from test_compared_tables import make as compared_table


def page_of(output: str) -> str:
    (path,) = re.findall(r"side by side: (\S+)$", output, re.MULTILINE)
    text = Path(path).read_text()
    assert not re.search(r'(?:src|href|url\()=?["\']?(?!data:|#)[\w/]', text) and "default-src 'none'" in text
    return text


def section(output: str, title: str) -> list[str]:
    (text,) = re.findall(rf"^{title} \(A, now B\)\n((?:  .*\n)+)", output, re.MULTILINE)
    return [line.strip() for line in text.splitlines()]


def test_a_state_equals_its_copy_on_another_path(tmp_path, compared):
    run = write_run(tmp_path / "a", wrong=(3,))
    write_run(tmp_path / "a", "lora/r8", 1)
    shutil.copytree(tmp_path / "a", tmp_path / "other/b")
    shutil.copytree(run, run / "hub/last")  # an export has a copy of the record
    write_run(tmp_path / "a", "hra/r8@learning_rate-0.1", 1000)  # a trial
    code, output, _ = compared("a", "other/b/")
    assert code == 0 and "Numbers: 0 of 4 differ" in output and output.count("no difference") == 4
    assert "0 of 4 numbers differ beyond rounding" in page_of(output)
    metrics = tmp_path / "other/b" / run.relative_to(tmp_path / "a") / "dev/metrics.json"
    selections = files.read_json(metrics)["selections"]
    for change, status in ((1e-7, 0), (1e-4, 1)):
        selections["last"]["metrics"]["accuracy"]["value"] = 0.975 + change
        edit(metrics, selections=selections)
        code, output, _ = compared("a", "other/b")
        assert code == status and f"Numbers: {status} of 4 differ" in output


def test_what_differs_is_named(tmp_path, compared):
    first = [write_run(tmp_path / "a", seed=seed) for seed in (0, 1)]
    write_run(tmp_path / "a", "lora/r8")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    settings = factories.SETTINGS | {"learning_rate": 0.02}
    for run in first:
        made = files.read_json(run / "train.json")
        asked = made["made_from"]["settings"] | {"hyperparameters": settings}
        changes = {"made_from": made["made_from"] | {"settings": asked}, "data_sha256": "e" * 64, "dirty": True}
        changes |= {"versions": made["versions"] | {"torch": "2.10.0"}, "commit": "f" * 40}
        edit_run(tmp_path / "b" / run.relative_to(tmp_path / "a"), **changes)
    path = tmp_path / "b" / first[0].relative_to(tmp_path / "a") / "dev/metrics.json"
    edit(path, made_from=files.read_json(path)["made_from"] | {"settings": {"dataset": "rte", "split": "test"}})
    code, output, _ = compared("a", "b")
    both = " (2 of 3 runs: glue/rte/hra/r8/seed0, glue/rte/hra/r8/seed1)"
    one = " (1 of 3 runs: glue/rte/hra/r8/seed0)"
    assert section(output, "Settings") == [f"learning_rate 0.001, now 0.02{both}", f"dev: split dev, now test{one}"]
    assert section(output, "Libraries and machines") == [f"torch 2.9.0, now 2.10.0{both}"]
    assert section(output, "Data and models") == [f"inputs.dataset bbbbbbbbbbbb…, now eeeeeeeeeeee…{both}"]
    assert section(output, "Code") == [f"commit dddddddddddd, now ffffffffffff{both}", f"dirty false, now true{both}"]
    assert code == 0  # only numbers count
    text = page_of(output)
    assert "learning_rate 0.001, now 0.02" in text and "torch 2.9.0, now 2.10.0" in text


def test_numbers_are_those_of_the_comparison_of_runs(tmp_path, compared):
    """Compare with compare_glue.csv, whose pairs are the same runs."""
    compared_table(tmp_path)
    code, output, _ = compared("glue/rte/lora/r8", "glue/rte/hra/r8")
    pairs = run_statistics.read_csv(tmp_path / "compare_glue.csv")
    chosen = (pairs["column"] == "RTE") & (pairs["selection"] == "last") & (pairs["run_b"] == "lora/r8")
    (row,) = pairs[chosen].to_dict("records")
    (line,) = [line for line in output.splitlines() if "Last step" in line and line.startswith("glue/rte/lora")]
    numbers = [float(found.replace("−", "-")) for found in re.findall(r"[+−]?\d+\.\d+(?:e−\d+)?", line)]
    low, high = (float(row[name]) / 100 for name in ("low", "high"))
    assert numbers[1] - numbers[0] == pytest.approx(float(row["difference"]) / 100, abs=1e-6)
    assert numbers[2:] == pytest.approx([float(row["difference"]) / 100, low, high, float(row["p"])], rel=2e-3)
    assert line.endswith("3 seeds × 300 items") and code == 1


def test_p_is_corrected_for_all_runs_of_a_benchmark_and_metric():
    def number(dataset: str, variant: str, p: float) -> Number:
        return Number(f"glue/{dataset}/hra/{variant}", "dev", "last", "accuracy", (0.5, 0.6), 3, False, p=p)

    found = with_holm([number("rte", "a", 0.01), number("rte", "b", 0.03), number("cola", "a", 0.04)])
    assert [one.p for one in found] == pytest.approx([0.02, 0.03, 0.04])


def test_other_seeds_are_compared_seed_by_seed_and_one_of_each_has_an_interval_over_items_but_no_p(tmp_path, compared):
    for name, seeds, wrong in (("a", (0, 1), (1, 2)), ("b", (5, 6, 7), (5,))):
        write_run(tmp_path / name, "lora/r8")
        for seed in seeds:
            write_run(tmp_path / name, seed=seed, wrong=wrong)
    code, output, _ = compared("a/glue/rte/hra/r8/seed0/train.json", "b/glue/rte/hra/r8/seed5")
    (line,) = [line for line in output.splitlines() if "Last step  " in line]
    assert code == 1 and line.startswith("glue/rte/hra/r8 (seed 0, now 5)  dev")
    assert re.search(r"0\.95 +0\.975 +\+0\.025 +\[−0\.\d+, \+0\.\d+\] +1 seed × 40 items", line)
    assert section(output, "Settings") == ["seed 0, now 5"]
    code, output, _ = compared("a", "b")
    lines = [line for line in output.splitlines() if line.startswith("glue/rte/hra/r8 (seeds 0, 1, now 5, 6)")]
    assert code == 1 and lines and all("2 seeds × 40 items" in line for line in lines)
    assert "Runs only in B\n  glue/rte/hra/r8/seed7\n" in output and "Runs only in A" not in output
    assert "seed 0, now 5 (1 of 3 runs: glue/rte/hra/r8/seed0)" in section(output, "Settings")


def test_the_ten_items_that_changed_most_are_side_by_side(tmp_path, compared):
    wrong = (7, 30, 2, 11, 12, 13, 14, 15, 16, 17, 18, 19)  # in rising order of their change
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", wrong=wrong)
    code, output, _ = compared("a", "b")
    text = page_of(output)
    shown = [int(item) for item in re.findall(r">sentence (\d+) &lt;b&gt;<", text)]
    assert code == 1 and shown == [*reversed(wrong)][:10]
    card = text[text.index("sentence 19 &lt;b&gt;") :].split('class="item"')[0]
    assert re.findall(r'class="text">(.*?)<', card) == ["yes", *["yes (0.982)"] * 2, *["no (1.000)"] * 2]
    assert "A: Best on dev: yes (0.982); Last step: yes (0.982)\n    B: Best on dev: no (1.000)" in output
    assert first != second and page_of(compared("a", "b")[1]) == text  # a repeated comparison replaces its page


def test_generated_images_are_side_by_side(tmp_path, compared):
    colours = {"a": ("red", "lime", "blue"), "b": ("red", "black", "blue")}
    for name, listed in colours.items():
        write_images(tmp_path / name, listed)
    code, output, _ = compared("a", "b")
    text = page_of(output)
    urls = [html_page.image(Image.new("RGB", (8, 8), colour), 160, 70) for colour in ("lime", "black")]
    assert code == 1 and re.findall(r'<img src="(.*?)"', text) == urls and ">a lime ball<" in text
    assert "seed 0, change 0.5: prompt: a lime ball\n    A: iou: 0.5\n    B: iou: 1\n" in output


def test_runs_and_results_of_only_one_state_differ(tmp_path, compared):
    run = write_run(tmp_path / "a")
    write_run(tmp_path / "a", "lora/r8")
    shutil.copytree(run, tmp_path / "b" / run.relative_to(tmp_path / "a"))
    code, output, _ = compared("a", "b")
    assert code == 1 and "Runs only in A\n  glue/rte/lora/r8/seed0\n" in output and "Numbers: 0 of 2 differ" in output
    shutil.rmtree(tmp_path / "a/glue/rte/lora")
    shutil.rmtree(tmp_path / "b/glue/rte/hra/r8/seed0/dev")
    code, output, _ = compared("a", "b")
    assert code == 1 and output.count("(only in A)") == 2
    diverged = factories.diverged(factories.entry(tmp_path, "rte"))
    records.write(tmp_path / "b/glue/rte/hra/r8/seed0/train.json", diverged)
    code, output, _ = compared("a", "b")
    assert code == 1 and "glue/rte/hra/r8/seed0 has diverged in B: the training loss is nan at step 7" in output


def test_items_that_do_not_correspond_have_no_interval(tmp_path, compared):
    run = write_run(tmp_path / "a")
    for name in "bcd":
        shutil.copytree(tmp_path / "a", tmp_path / name)
    place = tmp_path / "b" / run.relative_to(tmp_path / "a")
    edit_run(place, task_version=2)
    edit(place / "dev/metrics.json", task_version=2)
    code, output, _ = compared("a", "b")
    assert code == 0 and section(output, "Code") == ["task_version 1, now 2"]
    assert "(other versions of the task (1, now 2))" in page_of(output)
    path = tmp_path / "c" / run.relative_to(tmp_path / "a") / "dev/predictions.jsonl.gz"
    predictions.write(path, predictions.read(path)[:-2])
    edit(path.with_name("metrics.json"), predictions_sha256=files.sha256(path))
    assert "(other items (40, now 38))" in page_of(compared("a", "c")[1])
    (tmp_path / "d" / run.relative_to(tmp_path / "a") / "dev/predictions.jsonl.gz").unlink()
    assert "(no predictions per item)" in page_of(compared("a", "d")[1])


def test_results_of_the_harness_are_numbers_too(tmp_path, compared):
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    for run, value in ((first, 0.4), (second, 0.5)):
        found = {"ARC": {"metric": "acc,none", "value": value, "stderr": 0.1, "n_items": 100}}
        about = {"task_version": 1, "device": "cpu"}
        about["made_from"] = {"inputs": {"train.json": files.read_json(run / "train.json")["sha256"]}}
        records.write(run / "retention.json", about | {"benchmarks": found})
    code, output, _ = compared("a", "b")
    assert code == 1 and re.search(r"retention +Last step +ARC acc,none +0\.4 +0\.5 +\+0\.1 ", output)


def test_a_run_and_its_published_row(tmp_path, compared):
    entry = partial(factories.entry, tmp_path, "cola", "hra/r8")
    published = run_statistics.read_csv(ROOT / "config/published/glue.csv")
    (cell,) = published[(published["run"] == "hra/r8") & (published["column"] == "CoLA")].to_dict("records")
    value = float(cell["value"]) / 100
    for shift, status in ((0.00004, 0), (0.0002, 1)):
        for seed in (0, 1):
            factories.write(tmp_path, entry(seed) | {"benchmarks": {"validation": []}}, [value + shift])
        code, output, error = compared("glue/cola/hra/r8", "published")
        assert code == status and f"Numbers: {status} of 1 differ" in output, error
        line = output.splitlines()[-4]
        assert line.startswith("hra/r8  CoLA") and cell["source"] in line and "(n = 2)" in line
        assert cell["source"] in page_of(output)
    factories.write(tmp_path, factories.entry(tmp_path, "cola", "head/all"), [0.5])
    for run, options, message in (
        ("hra/r8", ("--config", ROOT / "config/demo/config.yaml"), "tasks.glue.published: expected a source"),
        ("hra/r8", ("--config", "mine.yaml"), "mine.yaml: expected a config file, or a folder with config.yaml in "),
        ("head/all", (), "glue.csv: expected a row of head/all, found only full/all, "),
    ):
        code, _, error = compared(f"glue/cola/{run}", "published", *options)
        assert code == 2 and message in error


ANSWERS = [{"output": text, "strict": {"right": right}, "gold": "5"} for text, right in (("a b", True), ("a c", False))]
SCORED = {"key": "step00010-prompt00-0", "dino": 0.5}
BLOCKED = SCORED | {"dino": None}


@pytest.mark.parametrize(
    ("first", "second", "score", "change"),
    [
        (*ANSWERS, "strict", 1.5),
        ({"loss": 2.0, "tokens": 8}, {"loss": 2.5, "tokens": 8}, "loss", 0.5),
        ({"last": [0.0, 0.0]}, {"last": [0.0, np.log(3)]}, "", pytest.approx(0.25)),
        (SCORED, BLOCKED, "dino", float("inf")),
        (BLOCKED, BLOCKED, "dino", 0),
    ],
)
def test_the_change_of_an_item(first, second, score, change):
    assert prediction_lines.change(first, second, score) == change
