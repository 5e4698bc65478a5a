"""Contents of a control sheet: per row the control image, its source image, and each method's generated image."""

from hra_workflow.core import made_from, predictions
from hra_workflow.core.job import as_list
from hra_workflow.data import images
from hra_workflow.report.image_grid import ROWS, evenly_spaced
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK

REAL = "real image"


def contents(job: dict) -> dict:
    """Return the sheet's `rows`, `columns` and `scores`, without `references` above them.

    rows: row of the split -> prompt. columns: label -> row -> image. scores: label -> row -> line of
    predictions.jsonl.gz.
    """
    params, split = job["params"], control_data.open_split(job["input"]["dataset"], BENCHMARK)
    rows = {row: split.value(row, "prompt") for row in evenly_spaced(len(split), ROWS)}
    columns = {
        "control image": {row: split.hint(row) for row in rows},
        REAL: {row: split.picture(row) for row in rows},
    }
    for path in as_list(job["input"].get("images")):
        made_from.check_own(path, images.made_from(path))
        found = images.unpack(path, lambda about: about["row"] in rows)
        columns[params["labels"][path]] = {one.about["row"]: one.image for one in found if one.png}
    scored = {path: params["labels"][path] for path in as_list(job["input"].get("predictions"))}
    scored |= dict.fromkeys(as_list(job["input"].get("real")), REAL)
    scores = {label: dict(enumerate(predictions.read(path))) for path, label in scored.items()}
    return {"heading": "", "references": [], "rows": rows, "columns": columns, "scores": scores}
