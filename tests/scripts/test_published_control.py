"""config/published/control.csv against the paper's Table 4, and the papers that it was copied from."""

from hra_workflow.report import run_statistics
from published import PUBLISHED, needs_paper, paper
from support import paper_config

COLUMNS = {
    "C2I_IoU": ("C2I IoU", "canny_iou"),
    "C2I_F1": ("C2I F1", "canny_f1"),
    "S2I_mIoU": ("S2I mIoU", "nvlabs_miou"),
    "S2I_mAcc": ("S2I mAcc", "nvlabs_macc"),
    "S2I_aAcc": ("S2I aAcc", "nvlabs_aacc"),
    "L2F_error": ("L2F error", "landmarks_error"),
}


def published():
    return run_statistics.read_csv(PUBLISHED / "control.csv")


@needs_paper
def test_published_control_equals_the_paper_cell_by_cell():
    printed = [row for row in paper("table4_control") if any(row[key] for key in COLUMNS)]  # real images: empty
    wanted = [
        (str(number), row["method"], row["params_M"], *COLUMNS[key], row[key])
        for number, row in enumerate(printed, 1)
        for key in COLUMNS
        if row[key]
    ]
    columns = ["row", "method", "params_M", "column", "metric", "value"]
    assert list(published()[columns].itertuples(index=False, name=None)) == wanted
    settings = {row["method"] + row["setting"] for row in printed if row["method"] != "DreamBooth"} | {"DreamBooth"}
    assert set(published()["method"] + published()["setting"]) == settings


def test_each_published_cell_has_a_column_of_ours():
    config = paper_config()
    columns = config["tasks"]["control"]["columns"]
    theirs = run_statistics.counterparts(published(), columns, {})
    assert len(theirs) == len(published())
    assert {name for _, name in theirs} == {
        "C2I IoU", "C2I F1", "S2I mIoU (NVlabs)", "S2I mAcc (NVlabs)", "S2I aAcc (NVlabs)", "L2F error (px)"
    }  # fmt: skip
    assert published().columns.tolist() == run_statistics.PUBLISHED
