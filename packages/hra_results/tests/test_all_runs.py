"""The report's table and plot of all runs: values of the run table, in Chromium filtered, sorted and plotted."""

import json
import random
from pathlib import Path

import pandas as pd
import pytest
from lxml import html

import collect_runs
import factories
from hra_workflow.report import run_statistics
from hra_workflow.report.run_statistics import RUN
from reports import EVIL, FINISHED, OTHERS, browse, write_varied

SIGN = {"lower": 1, "higher": -1}


def frontier(x: pd.Series, y: pd.Series, better: tuple[str, str]) -> list:
    """Return the indices of the Pareto frontier, starting with the best x; of equal points, only the first."""
    costs = pd.DataFrame({"x": SIGN[better[0]] * x, "y": SIGN[better[1]] * y}).dropna()
    costs = costs.sort_values(["x", "y"], kind="stable")
    return list(costs.index[costs["y"] < costs["y"].cummin().shift(fill_value=float("inf"))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_varied(tmp_path_factory.mktemp("all_runs"))


@pytest.fixture(scope="module")
def data(folder) -> dict:
    text = html.parse(str(folder / "report.html")).findtext(".//script[@type='application/json']")
    (task,) = json.loads(text)
    return task


def read(view: dict, name: str, selection: str = "last") -> list:
    """Unpack a column as the page does."""
    column = next(one for one in view["columns"] if one["name"] == name)
    cells = column["cells"].get(selection) or column["cells"][""]
    at = range(view["rows"]) if cells["at"] is None else cells["at"] or [0] * view["rows"]
    return [cells["of"][index] for index in at]


def test_every_cell_is_that_of_the_run_table(folder, data):
    runs, view = run_statistics.read_csv(folder / "runs_glue.csv"), data["views"]["seed"]
    keys = list(zip(*(map(str, read(view, name)) for name in RUN), strict=True))
    assert keys == list(runs[RUN].drop_duplicates().itertuples(index=False, name=None))
    for selection in ("last", "best_on_dev"):
        ok = runs[(runs["metric"] == "f1") & (runs["selection"] == selection)].set_index(RUN)["value"]
        assert read(view, "dev/f1", selection) == [float(ok[key]) if key in ok else None for key in keys]
    first = runs.drop_duplicates(RUN)
    for name in ("device", "adapter_parameters", "device_seconds", "commit"):
        assert [collect_runs.text(cell) for cell in read(view, name)] == list(first[name]), name
    names = {column["name"] for column in view["columns"]}
    assert "r" in names and "batch_size" not in names  # settings that differ
    states = dict(zip(zip(read(view, "label"), read(view, "seed"), strict=True), read(view, "status"), strict=True))
    labels = [factories.LABELS[run] for run in ("lora/r8", "adalora/r8", *OTHERS)]
    assert [states[label, 2] for label in labels] == ["diverged", "diverged", "failed", "outdated", "missing"]
    assert states["LoRA r=8", 0] == "ok"


def test_means_and_deviations_are_those_of_the_table_over_the_seeds_that_have_not_diverged(folder, data):
    table = run_statistics.read_csv(folder / "table_glue.csv")
    table = table[(table["selection"] == "last") & (table["run"] != "")].set_index("run")
    view = data["views"]["mean"]
    names = ("method", "variant", "dataset", "dev/accuracy", "seconds", "status")
    found = {}
    for method, variant, dataset, cell, seconds, status in zip(*(read(view, name) for name in names), strict=True):
        if dataset == "sst2":
            run, (value, std, count) = f"{method}/{variant}", cell or ("", "", None)
            shown = [one if one in ("", None) else f"{100 * one:.2f}" for one in (value, std)]
            assert shown == list(table.loc[run, ["SST-2", "SST-2_std"]]), run
            found[run] = count, seconds and seconds[2], status
    assert found["hra/r8"] == (3, 3, "ok") and found["lora/r8"] == (2, 2, "2 ok, 1 diverged")
    assert found["adalora/r8"] == (None, None, "diverged")


FILTERS = {
    "method == 'hra' and `variant` contains \"inf\"": ["hra/r8-inf"],
    "not r >= 8": [],  # unknown for other methods
    'r >= 8 or method in ("lora", "full")': ["full/all", "lora/r8", "hra/r8", "hra/r8-inf"],
    'status not in ["ok", "missing"]': ["lora/r8", "adalora/r8", "bitfit/all", "oft/b16"],
    "r = 8": "expected a column, an operator or a value, found =",
    "r >= big": "expected a number, or a text in quotes, found big",
    "constructor == 1": "expected a column, found constructor",
}


@pytest.fixture(scope="module")
def shown(folder) -> dict:
    """Return what Chromium shows for a link and after clicks; one start for all tests."""
    random.seed(0)
    clouds = [
        ([{"id": i, "x": random.randint(0, 9), "y": random.randint(0, 9)} for i in range(12)], (x, y))
        for x in SIGN
        for y in SIGN
    ]
    script = f"const FILTERS = {json.dumps([*FILTERS])}, POINTS = {json.dumps(clouds)};\n"
    script += Path(__file__).with_name("all_runs.js").read_text()
    fragment = "#all-runs?rows=seed&sort=dev%2Faccuracy&filter=method+%3D%3D+%22lora%22&column=label"
    fragment += "&column=dev%2Faccuracy&column=gone&x=gone&is.gone=%zz"
    document = browse(folder, folder / "report.html", script, fragment)
    found = json.loads(document.find("body").get("data-found"))
    for (points, better), ids in zip(clouds, found.pop("frontiers"), strict=True):
        x, y = ([point[name] for point in points] for name in "xy")
        assert ids == frontier(pd.Series(x, dtype=float), pd.Series(y, dtype=float), better)
    return found


def test_a_link_shows_its_filter_order_and_columns(shown, data):
    view, linked = data["views"]["seed"], shown["linked"]
    cells = zip(read(view, "method"), read(view, "dataset"), read(view, "dev/accuracy", "best_on_dev"), strict=True)
    values = [value for method, dataset, value in cells if (method, dataset) == ("lora", "sst2")]
    assert linked["heads"] == ["label", "dev/accuracy ↑"] and linked["sorted"] == [["dev/accuracy ↑", "ascending"]]
    assert [row[1] for row in linked["rows"]] == [f"{value:.4f}" for value in sorted(values[:2])] + ["–"]
    assert values[2] is None  # diverged: at the end
    for words in ("column=gone", "x=gone: expected one of", "is.gone"):
        assert words in linked["problems"]
    assert "Not plotted: 1 diverged." in linked["caption"] and len(linked["points"]) == 2


def test_without_a_link_it_shows_means_and_the_frontier_of_the_trained_runs(folder, shown):
    first, costs = shown["reset"], factories.PARAMETERS
    assert len(first["rows"]) == len(FINISHED) + len(OTHERS) and first["problems"] == ""
    by_label = {row[0].removesuffix(" ★"): row for row in first["rows"]}
    assert by_label["LoRA r=8"][1:3] == ["3", "2 ok, 1 diverged"] and by_label["AdaLoRA r=8"][2] == "diverged"
    assert by_label[factories.LABELS["bitfit/all"]][3] == f"out of memory {EVIL}"
    table = run_statistics.read_csv(folder / "table_glue.csv")
    trained = table["run"].isin(["full/all", "lora/r8", "hra/r8", "hra/r8-inf"])
    rows = table[(table["selection"] == "best_on_dev") & trained]
    x = pd.Series([costs[run.split("/")[0]] for run in rows["run"]], dtype=float)
    best = frontier(x, pd.to_numeric(rows["SST-2"]).reset_index(drop=True), ("lower", "higher"))
    labels = [EVIL if run == "hra/r8" else factories.LABELS[run] for run in rows["run"].iloc[best]]
    assert [line.split(": trainable_parameters")[0] for line in first["frontier"]] == labels
    assert {row[0].removesuffix(" ★") for row in first["rows"] if row[0].endswith(" ★")} == {*labels}
    assert len(first["points"]) == 4 and "NaN" not in first["steps"]
    for part in ("1 not trained", "1 diverged", "1 failed", "1 outdated", "1 missing"):
        assert part in first["caption"].partition("Not plotted: ")[2]
    assert "Some seeds have no result: LoRA r=8 (2 ok, 1 diverged)." in first["caption"]


def test_unknown_values_are_dashes_at_the_end_of_every_order(shown):
    down = shown["descending"]
    assert down["sorted"] == [["adapter_parameters ↓", "descending"]] and shown["focus"] == "adapter_parameters"
    place = down["heads"].index("adapter_parameters ↓")
    cells = [row[place] for row in down["rows"]]
    assert cells[:3] == ["184,000,000", "1,327,104 (2 seeds)", "663,552"] and set(cells[-4:]) == {"–"} and "0" in cells
    assert ["sort", "adapter_parameters"] in down["state"] and ["descending", "1"] in down["state"]


def test_a_column_is_filtered_by_a_choice_and_shown_by_a_box(shown):
    some = shown["only ok"]
    assert {row[some["heads"].index("status")] for row in some["rows"]} == {"ok"} and "is.status" in some["filters"]
    assert some["values"]["y"] == "dev/f1"  # the dataset's main metric
    assert ["is.status", "ok"] in some["state"] and ["dataset", "mrpc"] in some["state"]
    assert shown["two more columns"]["heads"][:3] == ["label", "method", "variant"]


def test_names_of_the_config_neither_break_the_page_nor_run(shown):
    assert EVIL in [row[0].removesuffix(" ★") for row in shown["reset"]["rows"]]
    assert shown["title"] == "Fine-tuning report: Text classification"
    assert shown["injected"] == 2  # the page's script and this test's
    assert shown["sideways"] == ""


def test_a_filter_selects_rows_or_names_its_error(shown):
    for found, (text, wanted) in zip(shown["filters"], FILTERS.items(), strict=True):
        rows = [f"{row[1]}/{row[2]}" for row in found["rows"]]
        refused = isinstance(wanted, str)
        problem = f"Filter: {wanted}. No rows are shown until it is corrected." if refused else ""
        assert (found["problems"], rows) == (problem, [] if refused else wanted), text
        assert ["filter", text] in found["state"]
