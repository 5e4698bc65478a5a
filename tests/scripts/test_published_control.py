"""config/published/control.csv against the paper's Table 4, and the papers that it was copied from."""

import pandas as pd

import table
from hra_workflow import tasks
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


def test_shares_and_percents_stand_beside_each_other():
    """Check the paper's units: edges as fractions, segmentation in percent; real images have no FID."""
    config = paper_config()
    found = {
        ("hra/r8", "coco", "canny_iou"): 0.2134,
        ("hra/r8", "coco", "fid"): 21.5,
        ("hra/r8", "ade20k", "nvlabs_miou"): 0.29456,
        ("hra/r8", "celeba-hq", "landmarks_error"): 5.5,
        ("real/images", "coco", "canny_iou"): 1.0,
    }
    rows = [
        {"run": run, "dataset": dataset, "metric": metric, "value": value, "benchmark": "validation", "seed": 0}
        | {"selection": "last", "status": "ok", "error": "", "preset": "code", "adapter_parameters": 895_488}
        for (run, dataset, metric), value in found.items()
    ]
    params = {
        "columns": config["tasks"]["control"]["columns"],
        "scale": tasks.classes()["control"].scale,
        "selections": list(tasks.classes()["control"].selections),
        "rows": [{"run": run, "label": run} for run in ("real/images", "hra/r8")],
        "seeds_expected": {run: dict.fromkeys(("coco", "ade20k", "celeba-hq"), 1) for run in ("real/images", "hra/r8")},
    }
    made = table.build(pd.DataFrame(rows), published(), params).set_index("run")
    hra, real = made.loc["hra/r8"], made.loc["real/images"]
    assert hra["C2I IoU"] == "0.213" and hra["C2I IoU_published"] == "0.213" and hra["C2I IoU_difference"] == "0.000"
    name = "S2I mIoU (NVlabs)"
    assert (hra[name], hra[f"{name}_published"], hra[f"{name}_difference"]) == ("29.46", "29.45", "0.01")
    assert (hra["L2F error (px)_published"], hra["L2F error (px)_difference"]) == ("5.560", "-0.060")
    assert (real["C2I IoU"], real["C2I FID"], real["C2I FID_n"]) == ("1.000", "", "")
    assert real["S2I FID_n"] == "0"  # not evaluated yet: missing
