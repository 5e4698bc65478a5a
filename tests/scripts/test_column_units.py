"""Columns of a table: one unit for a score and its differences, the metric's direction, and names of their own."""

import pytest

import compare
from demo_changes import demo_config
from glue_tables import collect, grid, make_table
from hra_workflow import tasks
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics
from hra_workflow.report.column_units import units
from hra_workflow.report.comparison import NOISE
from hra_workflow.tasks.columns import ENDINGS, OF_ROWS, check
from test_compared_tables import make

LONE = {"name": "RTE", "dataset": "rte", "benchmark": "dev", "metric": "accuracy", "scale": 100}


def test_a_column_in_percent_has_100_times_the_differences_and_10000_times_the_noise(tmp_path):
    _, job = make(tmp_path)
    found = []
    for scale in (1, 100):
        params = job["params"] | {"columns": [LONE | {"scale": scale}], "averages": {}}
        pairs = compare.build(run_statistics.read_runs(job["input"]["runs"]), params)
        found.append(pairs[["difference", "low", "high", *NOISE]].astype(float))
    times = [100] * 3 + [10_000] * 3
    assert found[1].to_numpy() == pytest.approx(found[0].to_numpy() * times, rel=1e-5)
    assert (found[0][[*NOISE]] > 0).any().all()


EDGES = {"dataset": "scenes-canny", "benchmark": "validation"}
IOU, F1 = (EDGES | {"name": name, "metric": f"canny_{name}"} for name in ("iou", "f1"))
POINTS = EDGES | {"name": "px", "dataset": "scenes-points", "metric": "points_error", "better": "lower"}
CONFIG = demo_config()


def checked(task: str, columns: list[dict], averages: dict[str, list[str]] | None = None) -> None:
    """Check these columns of the demo's config."""
    listed = [{"name": name, "columns": members} for name, members in (averages or {}).items()]
    settings = CONFIG["tasks"][task] | {"columns": columns, "averages": listed}
    check(tasks.load(CONFIG | {"tasks": {task: settings}})[task])


def test_columns_of_unequal_units_are_not_averaged():
    averages = {"All": ["iou", "f1"]}
    found = r"found iou \(scale 1, better higher\), f1 \(scale 100, better higher\)"
    with pytest.raises(JobError, match=rf"^config: tasks.control.averages: All: expected columns .*{found}. Remove"):
        checked("control", [IOU, F1 | {"scale": 100}], averages)
    checked("control", [one | {"scale": 100} for one in (IOU, F1)], averages)


def test_an_average_has_the_unit_of_its_columns():
    params = {"columns": [IOU | {"scale": 1}], "averages": {"All": ["iou"]}, "scale": 100}
    assert units(params)["All"].scale == 1


@pytest.mark.parametrize(
    ("task", "column", "better"),
    [
        ("glue", {"benchmark": "training", "metric": "seconds", "dataset": "sentiment"}, "lower"),
        ("math", {"benchmark": "test", "dataset": "word-problems", "metric": "strict"}, "higher"),
        ("subject", {"benchmark": "prompts", "metric": "blocked"}, "lower"),
        ("control", POINTS, "lower"),
    ],
)
def test_a_column_has_the_direction_of_its_metric(task, column, better):
    column = {"name": "A"} | {key: value for key, value in column.items() if key not in ("name", "better")}
    other = {"lower": "higher", "higher": "lower"}[better]
    checked(task, [column | {"better": better}])
    wrong = [column | {"better": other}, *([column] if better == "lower" else [])]
    for one in wrong:
        with pytest.raises(JobError, match=rf"columns: A: expected better: {better}, .* found {other}.*\. Write"):
            checked(task, [one])


def test_every_computed_column_has_such_a_name(tmp_path):
    expected = grid(tmp_path, datasets=("sst2",))
    collect(tmp_path, expected)
    make_table(tmp_path, expected)
    shown = {"SST-2", "All (acc)", "All (acc/F1 mean)"}
    found = {*run_statistics.read_csv(tmp_path / "table_glue.csv").columns}
    assert shown < found and "SST-2_verdict" in found
    assert all(name in OF_ROWS or name.endswith(ENDINGS) for name in found - shown)
