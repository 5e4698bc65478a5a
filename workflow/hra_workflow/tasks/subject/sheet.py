"""Contents of a subject's contact sheet: reference images and each method's first image per prompt (last step)."""

from PIL import Image

from hra_workflow.core import made_from, manifests, predictions
from hra_workflow.core.job import as_list
from hra_workflow.data import images
from hra_workflow.report.image_grid import ROWS, evenly_spaced

REFERENCES = 6


def contents(job: dict) -> dict:
    """Return `references` with their `heading`, `rows`, `columns` and `scores`.

    rows: index -> prompt. columns: label -> index -> image. scores: label -> index -> line of predictions.jsonl.gz.
    """
    params, listed = job["params"], images.listed(manifests.folder(job["input"]["dataset"]))
    rows = {index: params["prompts"][index] for index in evenly_spaced(len(params["prompts"]), ROWS)}
    labels = params["labels"]
    return {
        "heading": "Reference images of the subject",
        "references": [images.load(path) for path in listed[:REFERENCES]],
        "rows": rows,
        "columns": {labels[path]: last_images(path, rows) for path in as_list(job["input"].get("images"))},
        "scores": {labels[path]: scores(path) for path in as_list(job["input"].get("predictions"))},
    }


def last_images(path: str, prompts: dict[int, str]) -> dict[int, Image.Image]:
    """Return the first image of the last step per prompt, except blocked ones."""
    made_from.check_own(path, images.made_from(path))
    found = {}
    for picture in images.unpack(path, lambda about: about["index"] == 0 and about["prompt_index"] in prompts):
        if picture.png:  # steps are in order, so the last one is kept
            found[picture.about["prompt_index"]] = None if picture.about["blocked"] else picture
    return {prompt: picture.image for prompt, picture in found.items() if picture}


def scores(path: str) -> dict[int, dict]:
    """Return the line of the first image of the last step per prompt."""
    lines = [line for line in predictions.read(path) if line["index"] == 0]
    return {line["prompt_index"]: line for line in sorted(lines, key=lambda line: line["step"])}
