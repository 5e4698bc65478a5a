"""The published numbers of glue equal the paper."""

import csv

import pytest

from glue_tables import PUBLISHED, REPOSITORY
from hra_workflow.report import run_statistics

PAPER = REPOSITORY.parent / "shared" / "paper" / "tables"
needs_paper = pytest.mark.skipif(not PAPER.exists(), reason=f"{PAPER} is not on this machine")


@needs_paper
def test_published_glue_equals_the_paper_cell_by_cell():
    ours = run_statistics.read_csv(PUBLISHED)
    with open(PAPER / "table2_glue.csv") as stream:
        paper = list(csv.DictReader(stream))
    columns = ["MNLI", "SST-2", "CoLA", "QQP", "QNLI", "RTE", "MRPC", "STS-B", "All"]
    wanted = [
        (str(number), row["method"], row["setting"], row["params_M"], column, row[column], row["source"])
        for number, row in enumerate(paper, 1)
        for column in columns
    ]
    names = ["row", "method", "setting", "params_M", "column", "value", "source"]
    assert list(ours[names].itertuples(index=False, name=None)) == wanted


@needs_paper
def test_published_lambda_equals_the_paper_cell_by_cell():
    ours = run_statistics.read_csv(PUBLISHED.with_name("glue_lambda.csv"))
    paper = run_statistics.read_csv(PAPER / "fig3_mrpc_lambda_r8.csv")
    names = ["bar", "lambda", "value", "mapping_note", "source"]
    assert ours[names].to_numpy().tolist() == paper.to_numpy().tolist()


def test_scales_of_the_published_numbers():
    """Verify the scale: an accuracy on MRPC's 408 items is a multiple of 1/408, "All" is a plain mean."""
    published = run_statistics.read_csv(PUBLISHED)
    for _, cells in published.groupby("row"):
        cells = cells.set_index("column")
        values = cells["value"].astype(float)
        assert abs(values["MNLI":"STS-B"].mean() - values["All"]) < 0.0101
        mrpc = values["MRPC"]
        is_accuracy = any(f"{100 * k / 408:.2f}" == f"{mrpc:.2f}" for k in range(409))
        assert is_accuracy == (cells.loc["MRPC", "metric"] == "accuracy") == (cells.loc["QQP", "metric"] == "accuracy")
    for name, metric in [("CoLA", "matthews_correlation"), ("STS-B", "pearson_spearman_mean"), ("RTE", "accuracy")]:
        assert published.loc[published["column"] == name, "metric"].eq(metric).all()
