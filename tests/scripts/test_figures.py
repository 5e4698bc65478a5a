"""The figures, on synthetic records: complete, in part, empty, and the same bytes twice."""

import html
import re
from pathlib import Path

import pandas as pd
import pytest

import collect_runs
import factories
import figures
from glue_tables import PUBLISHED
from hra_workflow import tasks
from hra_workflow.methods import METHODS
from hra_workflow.report import colours, column_units, run_statistics
from hra_workflow.tasks import outputs
from support import paper_config

EVERY = [(dataset, run, seed) for run in factories.LABELS for dataset in factories.METRICS for seed in (0, 1)]


def draw(folder, keys, made=None, published=PUBLISHED, only=factories.FIGURES, **params) -> dict:
    """Collect the runs in `made` (all by default), draw the figures in `only`, and return the job."""
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


def test_the_full_grid_shows_every_run_and_the_papers(tmp_path):
    job = draw(tmp_path, EVERY)
    shown = {
        "parameters": [*factories.LABELS.values(), "H-Adapter (paper only)", "hollow: the paper", "on another scale"]
    }
    shown["lambda"] = ["0", "1e-7", "1e-6", "1e-5", "1e-4", "1e-3", "∞", "ours", "paper, Table 2", "labels conflict"]
    for name, labels in shown.items():
        text = words(job, name)
        assert not [label for label in labels if label not in text]


def test_two_runs_give_the_same_bytes(tmp_path):
    outputs = [draw(tmp_path / name, [("mrpc", "hra/r8", 0), ("mrpc", "lora/r8", 0)])["output"] for name in "ab"]
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
    assert "paper, Figure 3" in words(draw(tmp_path / "one", keys, only=["lambda"]), "lambda")
    other = draw(tmp_path / "two", keys, only=["lambda"], **{"lambda": ["MRPC (acc)"]})
    assert "paper, Figure 3" not in words(other, "lambda")


def test_a_method_has_the_same_colour_in_every_task_and_no_other_has_it():
    before, added = colours.of_methods(paper_config()), paper_config()
    runs = ["dora/r8", "rslora/r8", "vera/r256", "shira/r8"]
    added["tasks"]["glue"]["grid"].append({"runs": runs, "datasets": ["cola"], "seeds": [0]})
    after = colours.of_methods(added)
    assert before.items() <= after.items() and set(after) - set(before) == {run.split("/")[0] for run in runs}
    assert len(set(after.values())) == len(after) and after["lora"] == METHODS["lora"].colour


def test_a_run_evaluated_without_a_value_is_not_called_unfinished(tmp_path):
    keys = [("cola", run, 0) for run in ("hra/r8", "lora/r8")]
    column = {"name": "Error", "dataset": "cola", "benchmark": "dev", "metric": "unknown"}
    shown = {"columns": [column], "averages": {}, "parameters": ["Error"], "lambda": ["Error"]}
    job = draw(tmp_path, keys, made=keys[:1], published=None, only=["parameters"], **shown)
    text = words(job, "parameters")
    assert "Evaluated without a value of Error: HRA r=8, λ=0" in text and "No complete Error yet: LoRA r=8" in text


def test_no_empty_figure_is_listed():
    config = paper_config()
    config["tasks"]["glue"]["grid"] = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["cola"], "seeds": [0]}]
    config["tasks"]["math"]["grid"] = [{"runs": ["base/pretrained"], "datasets": ["metamath40k"], "seeds": [0]}]
    loaded = tasks.load(config)
    assert "figures/glue_lambda.png" not in outputs.results(loaded["glue"])
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
