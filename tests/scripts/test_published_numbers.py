"""The published numbers equal the paper."""

import pytest

from hra_workflow.report import run_statistics
from published import NAMES, PUBLISHED, needs_paper, paper, published
from support import paper_config

IMPACT = dict(zip(NAMES, NAMES, strict=True)) | {"Overall impact": "overall_impact_pct"}
COSTS = {
    "Parameters (%)": "param_ratio_pct",
    "Training time (h)": "training_time_h",
    "Peak memory (GB)": "peak_memory_GB",
}
CONTROL = {
    "C2I_IoU": ("C2I IoU", "canny_iou"),
    "C2I_F1": ("C2I F1", "canny_f1"),
    "S2I_mIoU": ("S2I mIoU", "nvlabs_miou"),
    "S2I_mAcc": ("S2I mAcc", "nvlabs_macc"),
    "S2I_aAcc": ("S2I aAcc", "nvlabs_aacc"),
    "L2F_error": ("L2F error", "landmarks_error"),
}
GLUE = ["MNLI", "SST-2", "CoLA", "QQP", "QNLI", "RTE", "MRPC", "STS-B", "All"]


@needs_paper
@pytest.mark.parametrize(
    ("name", "printed", "columns", "texts"),
    [
        ("retention", "table3_retention", IMPACT, ["source"]),
        ("compute", "table6_compute", COSTS, ["method", "hardware", "source"]),
        ("glue", "table2_glue", dict(zip(GLUE, GLUE, strict=True)), ["method", "setting", "params_M", "source"]),
    ],
)
def test_a_published_table_equals_the_paper_cell_by_cell(name, printed, columns, texts):
    wanted = [
        (str(number), column, row[key], *(row[text] for text in texts))
        for number, row in enumerate(paper(printed), 1)
        for column, key in columns.items()
        if row[key]
    ]
    assert published(name, "row", "column", "value", *texts) == wanted


@needs_paper
def test_published_lambda_equals_the_paper_cell_by_cell():
    wanted = [
        (row["bar_index"], row["lambda_inferred_from_axis_order"], column, row[f"{column}_pct"], row["mapping_note"])
        for row in paper("fig4_math_lambda_r8")
        for column in ("GSM8K", "MATH")
    ]
    assert published("math_lambda", "bar", "lambda", "column", "value", "mapping_note") == wanted
    wanted = [tuple(row.values()) for row in paper("fig3_mrpc_lambda_r8")]
    assert published("glue_lambda", "bar", "lambda", "value", "mapping_note", "source") == wanted


@needs_paper
def test_published_math_unites_figure_1c_and_table_7():
    figure, table = paper("fig1c_math"), paper("table7_math_lambda")
    cells = {}
    for row in [*figure, *table]:
        for column in ("GSM8K", "MATH"):
            key = row["method"], row["setting"], column
            assert cells.setdefault(key, row[column]) == row[column]  # the two agree
    assert published("math", "method", "setting", "column", "value") == [(*key, value) for key, value in cells.items()]
    for method, setting, source in published("math", "method", "setting", "source"):
        in_figure, in_table = (
            any((row["method"], row["setting"]) == (method, setting) for row in rows) for rows in (figure, table)
        )
        assert ("Figure 1c" in source, "Table 7" in source) == (in_figure, in_table)


@needs_paper
def test_published_control_equals_the_paper_cell_by_cell():
    printed = [row for row in paper("table4_control") if any(row[key] for key in CONTROL)]  # real images: empty
    wanted = [
        (str(number), row["method"], row["params_M"], *CONTROL[key], row[key])
        for number, row in enumerate(printed, 1)
        for key in CONTROL
        if row[key]
    ]
    assert published("control", "row", "method", "params_M", "column", "metric", "value") == wanted
    made = run_statistics.read_csv(PUBLISHED / "control.csv")
    ours = run_statistics.counterparts(made, paper_config()["tasks"]["control"]["columns"], {})
    assert len(ours) == len(wanted)  # each has a column of ours
