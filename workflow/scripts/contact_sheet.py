"""One subject at a glance: its photographs, then prompts × methods, the first image of each after the last step."""

from PIL import Image

from common.core import manifests
from common.core.job import start
from common.data import images
from common.report.image_grid import CELL, GAP, MARGIN, TEXT, Sheet, evenly_spaced
from common.report.run_statistics import as_list

PHOTOGRAPHS = 6


def main(job: dict) -> None:
    params = job["params"]
    photographs = [images.load(path) for path in images.listed(manifests.folder(job["input"]["dataset"]))]
    chosen = evenly_spaced(len(params["prompts"]), params["rows"])
    columns = {params["labels"][path]: shown(path, chosen) for path in as_list(job["input"].get("images"))}
    width = MARGIN + max(len(columns), len(photographs[:PHOTOGRAPHS])) * (CELL + GAP)
    sheet = Sheet(width, 2 * TEXT + (1 + len(chosen)) * (CELL + GAP))
    sheet.say(0, 0, MARGIN, CELL, "the subject")
    for index, photograph in enumerate(photographs[:PHOTOGRAPHS]):
        sheet.show(MARGIN + index * (CELL + GAP), 0, photograph)
    top = CELL + GAP
    for index, label in enumerate(columns):
        sheet.say(MARGIN + index * (CELL + GAP), top, CELL, TEXT, label)
    for row, prompt in enumerate(chosen):
        y = top + TEXT + row * (CELL + GAP)
        sheet.say(0, y, MARGIN, CELL, params["prompts"][prompt])
        for index, found in enumerate(columns.values()):
            sheet.show(MARGIN + index * (CELL + GAP), y, found.get(prompt))
    sheet.save(job["output"]["sheet"])


def shown(path: str, prompts: list[int]) -> dict[int, Image.Image]:
    """Prompt -> the first image of the last step, where it was not blocked."""
    found = {}
    for picture in images.unpack(path):  # steps come in order: the last one stays
        about = picture.about
        if about["index"] == 0 and about["prompt_index"] in prompts:
            found[about["prompt_index"]] = None if about["blocked"] else picture
    return {prompt: picture.image for prompt, picture in found.items() if picture}


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
