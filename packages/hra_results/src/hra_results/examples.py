"""A few predictions of a run on the page, with their images."""

from pathlib import Path

from hra_results import html_page, prediction_lines
from hra_workflow.core import made_from, predictions
from hra_workflow.data import images
from hra_workflow.report.image_grid import evenly_spaced

EXAMPLES = 4  # maximum predictions per benchmark of a run
THUMBNAIL, LONGEST = 160, 600  # pixels, characters


def chosen(task: str, folder: Path, dataset: dict, facts: dict) -> list[dict]:
    """Return a few evenly spaced predictions: their `texts` by heading, and `url`, the generated image or None."""
    path, archive = folder / "predictions.jsonl.gz", folder / "images.tar"
    if not path.exists() or (facts["images"] and not archive.exists()):  # real images are not generated
        return []
    lines = predictions.read(path)
    last = max((line.get("step", 0) for line in lines), default=0)  # subjects: one set of images per epoch
    lines = [line for line in lines if line.get("step", 0) == last]
    few = [lines[index] for index in evenly_spaced(len(lines), EXAMPLES)]
    urls = thumbnails(archive, few) if archive.exists() else {}
    found = []
    for place, line in enumerate(few):
        texts = prediction_lines.example(line, dataset)
        named = {facts["titles"].get(name, name): text for name, text in texts.items()}
        short = {name: text if len(text) <= LONGEST else f"…{text[-LONGEST:]}" for name, text in named.items()}
        found.append({"texts": short, "url": urls.get(place)})
    return found


def thumbnails(archive: Path, lines: list[dict]) -> dict[int, str]:
    """Return the images of these predictions as data URLs, by the index of their line."""
    made_from.check_own(archive, images.made_from(archive))
    identity = ("step", "prompt_index", "index", "row", "key")  # keys in both a task's images and predictions

    def place(about: dict) -> int | None:
        def same(line: dict) -> bool:
            return all(line[name] == about[name] for name in identity if name in line and name in about)

        return next((index for index, line in enumerate(lines) if same(line)), None)

    found = images.unpack(archive, lambda about: place(about) is not None)
    return {place(one.about): html_page.image(one.image, THUMBNAIL, 70) for one in found if one.png}
