"""The published numbers of glue equal the paper."""

from hra_workflow.report import run_statistics
from published import PUBLISHED, needs_paper, paper, published


@needs_paper
def test_published_glue_equals_the_paper_cell_by_cell():
    columns = ["MNLI", "SST-2", "CoLA", "QQP", "QNLI", "RTE", "MRPC", "STS-B", "All"]
    wanted = [
        (str(number), row["method"], row["setting"], row["params_M"], column, row[column], row["source"])
        for number, row in enumerate(paper("table2_glue"), 1)
        for column in columns
    ]
    assert published("glue", "row", "method", "setting", "params_M", "column", "value", "source") == wanted


@needs_paper
def test_published_lambda_equals_the_paper_cell_by_cell():
    wanted = [tuple(row.values()) for row in paper("fig3_mrpc_lambda_r8")]
    assert published("glue_lambda", "bar", "lambda", "value", "mapping_note", "source") == wanted


def test_scales_of_the_published_numbers():
    """Verify the scale: an accuracy on MRPC's 408 items is a multiple of 1/408, "All" is a plain mean."""
    ours = run_statistics.read_csv(PUBLISHED / "glue.csv")
    for _, cells in ours.groupby("row"):
        cells = cells.set_index("column")
        values = cells["value"].astype(float)
        assert abs(values["MNLI":"STS-B"].mean() - values["All"]) < 0.0101
        mrpc = values["MRPC"]
        is_accuracy = any(f"{100 * k / 408:.2f}" == f"{mrpc:.2f}" for k in range(409))
        assert is_accuracy == (cells.loc["MRPC", "metric"] == "accuracy") == (cells.loc["QQP", "metric"] == "accuracy")
    for name, metric in [("CoLA", "matthews_correlation"), ("STS-B", "pearson_spearman_mean"), ("RTE", "accuracy")]:
        assert ours.loc[ours["column"] == name, "metric"].eq(metric).all()
