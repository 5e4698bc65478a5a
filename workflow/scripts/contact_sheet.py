"""One subject at a glance: its photographs, then prompts × methods, the first image of each after the last step."""

from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from common import images, manifests
from common.aggregate import as_list
from common.job import start

CELL, GAP, TEXT, MARGIN = 160, 6, 34, 170  # pixels
PHOTOGRAPHS = 6


def main(job: dict) -> None:
    params = job["params"]
    photographs = [images.load(path) for path in images.listed(manifests.folder(job["input"]["dataset"]))]
    count = len(params["prompts"])
    chosen = sorted({index * (count - 1) // max(params["rows"] - 1, 1) for index in range(min(params["rows"], count))})
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
    Path(job["output"]["sheet"]).parent.mkdir(parents=True, exist_ok=True)
    sheet.image.save(job["output"]["sheet"])


def shown(path: str, prompts: list[int]) -> dict[int, Image.Image]:
    """Prompt -> the first image of the last step, where it was not blocked."""
    found = {}
    for picture in images.unpack(path):  # steps come in order: the last one stays
        about = picture.about
        if about["index"] == 0 and about["prompt_index"] in prompts:
            found[about["prompt_index"]] = None if about["blocked"] else picture
    return {prompt: picture.image for prompt, picture in found.items() if picture}


class Sheet:
    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)
        # Pillow's own font has no Greek letters.
        self.font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 12)

    def show(self, x: int, y: int, image: Image.Image | None) -> None:
        if image is None:
            self.draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), "#dddddd")
            return
        side = min(image.size)
        left, top = ((room - side) // 2 for room in image.size)
        square = image.crop((left, top, left + side, top + side))
        smooth = Image.Resampling.LANCZOS if side > CELL else Image.Resampling.BICUBIC
        self.image.paste(square.resize((CELL, CELL), smooth), (x, y))

    def say(self, x: int, y: int, width: int, height: int, text: str) -> None:
        """Words in lines of at most `width` pixels, from the top."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.draw.textlength(longer, self.font) > width - GAP:
                lines.append(word)
            else:
                lines[-1] = longer
        self.draw.text((x + 2, y + 2), "\n".join(lines[: max(1, height // 16)]), "#222222", self.font)


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
