"""The figures, on synthetic records: complete, in part, empty, and the same bytes twice."""

import html
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import collect_runs
import factories
import figures
from glue_tables import PUBLISHED
from hra_workflow import tasks
from hra_workflow.methods import METHODS
from hra_workflow.report import colours, column_units, run_statistics
from hra_workflow.report.plot_style import styles, widen
from hra_workflow.tasks import outputs
from support import paper_config

EVERY = [(dataset, run, seed) for run in factories.LABELS for dataset in factories.METRICS for seed in (0, 1)]


def draw(folder, keys, made=None, published=PUBLISHED, only=factories.FIGURES, **params) -> dict:
    """Collect the runs in `made` (all by default) and draw the figures in `only`; returns the job."""
    expected = [factories.entry(folder, *key) for key in keys]
    kept = expected if made is None else [factories.entry(folder, *key) for key in made]
    paths = [factories.write(folder, run, factories.noisy_curve(run)) for run in kept]
    collect_runs.main(factories.collect_job(folder, expected, paths, incomplete=True))
    job = factories.figures_job(folder, expected, [record for record, _ in paths], published)
    job["params"] |= params
    job["output"] = {name: path for name, path in job["output"].items() if name.rpartition("_")[0] in only}
    figures.main(job)
    return job


def words(job: dict, name: str) -> str:
    """Return the texts of an SVG, which matplotlib writes as comments next to the outlines."""
    return " | ".join(re.findall(r"<!-- (.*?) -->", Path(job["output"][f"{name}_svg"]).read_text(), flags=re.DOTALL))


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("complete"), EVERY)


def test_the_full_grid_shows_every_run_and_the_papers(complete):
    text = words(complete, "parameters")
    for label in [*factories.LABELS.values(), "H-Adapter (paper only)", "hollow: the paper", "on another scale"]:
        assert label in text, label
    text = words(complete, "lambda")
    for label in ["0", "1e-7", "1e-6", "1e-5", "1e-4", "1e-3", "∞", "ours", "paper, Table 2", "labels conflict"]:
        assert label in text, label


def test_two_runs_give_the_same_bytes(tmp_path):
    keys = [key for key in EVERY if key[0] in ("cola", "mrpc") and key[1] in ("hra/r8", "lora/r8")]
    outputs = [draw(tmp_path / name, keys)["output"] for name in ("one", "two")]
    for kind in outputs[0]:
        assert Path(outputs[0][kind]).read_bytes() == Path(outputs[1][kind]).read_bytes(), kind


def test_dollars_in_labels_and_columns_are_no_mathematics(tmp_path):
    label, column = "a|b $\\frac{$ <c> =", "CoLA $x_1$ $\\frac{$"
    columns = [{"name": column, "dataset": "cola", "benchmark": "dev", "metric": "matthews_correlation"}]
    params = {"columns": columns, "averages": {}, "parameters": [column], "lambda": [column]}
    job = draw(tmp_path, [("cola", "hra/r8", 0)], published=None, labels={"hra/r8": label}, **params)
    text = html.unescape(words(job, "parameters"))
    assert label in text and column in text
    assert column in words(job, "lambda")
    missing = draw(tmp_path / "none", [("cola", "hra/r8", 0)], made=[], published=None, **params)
    assert f"No run of the λ sweep has {column} yet" in " ".join(words(missing, "lambda").split())
    assert "No run has every column" in words(missing, "parameters")


def test_the_paper_is_drawn_only_on_the_same_scale(tmp_path):
    keys = [("mrpc", "hra/r8", 0)]
    same, other = (
        draw(tmp_path / name, keys, only=["lambda"], **params)
        for name, params in {"one": {}, "two": {"lambda": ["MRPC (acc)"]}}.items()
    )
    assert "paper, Figure 3" in words(same, "lambda") and "paper, Figure 3" not in words(other, "lambda")


def panel(ours: pd.DataFrame) -> tuple[Axes, list]:
    """Draw the panel of parameters; return its axes and handles."""
    axes, published = Figure().subplots(), pd.read_csv(PUBLISHED, dtype=str).iloc[:0]
    params = {"labels": {run: run.upper() for run in ours.index}, "columns": [{"name": "score"}], "averages": {}}
    return axes, figures.parameters_panel(axes, "score", ours, published, params, styles(list(ours.index), {}))


def test_what_lies_far_outside_is_said_on_its_side():
    """Test runs without parameters: one far above, two far below, one close enough for a line."""
    values = {"lora/r8": (9, 2), "hra/r8": (4, 1), "top": (0, 50), "a": (0, -50), "b": (0, -60), "near": (0, 1.2)}
    axes, handles = panel(pd.DataFrame(values, ["parameters", "mean"]).T.assign(std=0.0))
    above, below = (text.get_text() for text in axes.texts)
    assert above == "TOP: 50, above ↑" and below == "A: -50, below ↓\nB: -60, below ↓"
    assert [handle.get_label() for handle in handles] == ["LORA/R8", "HRA/R8", "NEAR"]
    assert axes.get_ylim()[0] > 0 and axes.get_ylim()[1] < 3


@pytest.mark.parametrize("points", [[], [0.5], [0.5, 0.501]])
def test_the_level_of_a_run_without_parameters_is_within_the_axis(points):
    ours = pd.DataFrame({"parameters": [0, *[9] * len(points)], "mean": [0.54, *points], "std": 0.0})
    ours.index = ["head/all", "lora/r8", "hra/r8"][: len(ours)]
    axes, handles = panel(ours)
    assert len(handles) == len(ours)
    low, high = axes.get_ylim()
    assert low < min([0.54, *points]) and high > 0.54 and not any(text.get_text() for text in axes.texts)


def test_a_method_has_the_same_colour_in_every_task_and_no_other_has_it():
    before = colours.of_methods(paper_config())
    added = paper_config()
    runs = ["dora/r8", "rslora/r8", "vera/r256", "shira/r8"]
    added["tasks"]["glue"]["grid"].append({"runs": runs, "datasets": ["cola"], "seeds": [0]})
    after = colours.of_methods(added)
    assert before.items() <= after.items() and after["lora"] == METHODS["lora"].colour
    assert set(after) - set(before) == {run.split("/")[0] for run in runs}
    assert len(set(after.values())) == len(after)


@pytest.mark.parametrize(("scale", "values", "least"), [(1, (0.1333, 0.1353), 0.0135), (100, (90.1, 90.3), 2)])
def test_a_small_difference_looks_small(scale, values, least):
    axes = Figure().subplots()
    axes.plot(values)
    widen(axes, scale)
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(least, rel=0.01) and low < min(values) and high > max(values)


def test_a_run_evaluated_without_a_value_is_not_called_unfinished(tmp_path):
    keys = [("cola", run, 0) for run in ("hra/r8", "lora/r8")]
    column = {"name": "Error", "dataset": "cola", "benchmark": "dev", "metric": "unknown"}
    shown = {"columns": [column], "averages": {}, "parameters": ["Error"], "lambda": ["Error"]}
    job = draw(tmp_path, keys, made=keys[:1], published=None, only=["parameters"], **shown)
    text = words(job, "parameters")
    assert "Evaluated without a value of Error: HRA r=8, λ=0" in text and "No complete Error yet: LoRA r=8" in text


def test_no_empty_figure_is_listed():
    config = paper_config()
    assert outputs.figures(tasks.load(config)["glue"]) == ["parameters", "lambda"]
    config["tasks"]["glue"]["grid"] = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["cola"], "seeds": [0]}]
    config["tasks"]["math"]["grid"] = [{"runs": ["base/pretrained"], "datasets": ["metamath40k"], "seeds": [0]}]
    loaded = tasks.load(config)
    assert "figures/glue_lambda.png" not in outputs.results(loaded["glue"])
    assert outputs.figures(loaded["math"]) == [] and "table_math.csv" in outputs.results(loaded["math"])
    assert not [name for name in outputs.results(loaded["math"]) if "figures" in name or "cost" in name]


def test_points_stand_where_the_table_says(tmp_path):
    """Check that the figure shows the run table: mean over seeds, with std as the error bar."""
    keys = [("mrpc", "hra/r8", seed) for seed in (0, 1, 2)]
    job = draw(tmp_path, keys, published=None, only=[])
    runs = run_statistics.read_runs(job["input"]["runs"])
    params = job["params"]
    scores = run_statistics.scores(runs, column_units.parts(params))
    empty = pd.DataFrame(columns=[*run_statistics.PUBLISHED, "lambda"])
    (ax,) = figures.lambda_figure(scores, empty, empty, params).axes
    cell = run_statistics.summary(scores).loc[("hra/r8", "best_on_dev", "MRPC (acc/F1 mean)")]
    chosen = (runs["metric"] == "accuracy_f1_mean") & (runs["selection"] == "best_on_dev")
    assert cell["mean"] == pytest.approx(100 * runs.loc[chosen, "value"].mean())
    (container,) = ax.containers
    assert container.lines[0].get_ydata() == pytest.approx([cell["mean"]])
    ((low, high),) = container.lines[2][0].get_segments()
    assert high[1] - low[1] == pytest.approx(2 * cell["std"])
