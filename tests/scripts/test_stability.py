"""The figure of score against retention, on synthetic runs: points, frontier, base model."""

import pandas as pd
import pytest

from hra_workflow import tasks
from hra_workflow.report import stability
from hra_workflow.tasks import outputs
from support import paper_config

LABELS = {"base/pretrained": "Base", "lora/r8": "LoRA", "hra/r8": "HRA"}
PARAMS = {
    "columns": [{"name": "Sums", "dataset": "sums", "benchmark": "test", "metric": "strict"}],
    "parameters": ["Sums"],
    "labels": LABELS,
    "colours": {"base": "#000000", "lora": "#0072B2", "hra": "#D55E00"},
    "scale": 100,
    "remarks": ["not a ranking"],
}
TEXT = {"benchmark": "general_text", "metric": "loss", "label": "loss", "better": "lower"}
# Score and loss. HRA beats LoRA in both.
VALUES = {"base/pretrained": (0.1, 2.0), "lora/r8": (0.5, 3.0), "hra/r8": (0.6, 2.9)}


def table(retention: dict, values: dict) -> pd.DataFrame:
    rows = []
    for run, both in values.items():
        for seed, shift in ((0, -0.01), (1, 0.01)):
            shown = zip(("test", retention["benchmark"]), ("strict", retention["metric"]), both, strict=True)
            for benchmark, metric, value in shown:
                rows.append(
                    {
                        "dataset": "sums",
                        "run": run,
                        "seed": seed,
                        "benchmark": benchmark,
                        "selection": "last",
                        "metric": metric,
                        "value": value + shift,
                        "status": "ok",
                    }
                )
    return pd.DataFrame(rows)


def drawn(retention: dict, values: dict = VALUES):
    figure = stability.figure(table(retention, values), PARAMS | {"retention": retention})
    return figure, figure.axes[0]


def dots(ax) -> set[tuple]:
    found = [line for line in ax.lines if line.get_linestyle() == "None" and line.get_marker() in "osD"]
    return {(round(float(x), 3), round(float(y), 1)) for line in found for x, y in zip(*line.get_data(), strict=True)}


def test_a_point_per_run_and_a_ring_per_frontier_point():
    figure, ax = drawn(TEXT)
    assert dots(ax) == {(loss, round(100 * score)) for score, loss in VALUES.values()}
    (rings,) = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert {*zip(*(values.round(6) for values in rings.get_data()), strict=True)} == {(2.0, 10.0), (2.9, 60.0)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(LABELS.values())


def test_retention_is_that_of_the_datasets_of_the_column():
    runs = pd.concat([table(TEXT, VALUES), table(TEXT, {"hra/r8": (0.6, 9.9)}).assign(dataset="products")])
    found = stability.retained(runs, TEXT, {"sums"}).set_index("run")["x"]
    assert found.to_dict() == pytest.approx({key: loss for key, (_, loss) in VALUES.items()})
    assert stability.retained(runs, TEXT, {"sums", "products"})["x"].max() == pytest.approx((2.9 + 9.9) / 2)


def test_no_retention_yet_is_said():
    runs = table(TEXT, VALUES)
    figure = stability.figure(runs[runs["benchmark"] == "test"], PARAMS | {"retention": TEXT})
    assert "No run has both retention" in figure.axes[0].texts[0].get_text() and not figure.legends


def test_tasks_that_measure_retention_list_the_figure():
    loaded = tasks.load(paper_config())
    found = {name: task.retention() for name, task in loaded.items()}
    assert found["glue"] is found["subject"] is found["control"] is None
    assert (found["math"]["benchmark"], found["math"]["better"]) == ("general_text", "lower")
    listed = {name: "stability" in outputs.figures(task) for name, task in loaded.items()}
    assert listed == {"glue": False, "math": True, "subject": False, "control": False}
