"""Grids of labelled images."""

from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

CELL, GAP, BORDER, CAPTION, LINE = 160, 8, 16, 170, 16  # pixels; CAPTION: width of a row's text
ROWS = 6  # at most, of a contact sheet


def evenly_spaced(count: int, rows: int) -> list[int]:
    """Choose at most `rows` evenly spaced indices of 0 … count − 1, including the first and the last."""
    shown = min(rows, count)
    return [index * (count - 1) // max(shown - 1, 1) for index in range(shown)]


class Sheet:
    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)
        # Pillow's default font has no Greek letters.
        fonts = Path(matplotlib.get_data_path(), "fonts/ttf")
        self.font, self.bold = (ImageFont.truetype(fonts / f"DejaVuSans{name}.ttf", 12) for name in ("", "-Bold"))

    def save(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.image.save(path)

    def show(self, x: int, y: int, image: Image.Image | None) -> None:
        if image is None:
            self.draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), "#dddddd")
            return
        side = min(image.size)
        left, top = ((room - side) // 2 for room in image.size)
        square = image.crop((left, top, left + side, top + side))
        smooth = Image.Resampling.LANCZOS if side > CELL else Image.Resampling.BICUBIC
        self.image.paste(square.resize((CELL, CELL), smooth), (x, y))

    def say(self, x: int, y: int, width: int, height: int, text: str, bold: bool = False) -> None:
        """Write text in lines of at most `width` pixels, starting at the top; text that does not fit is truncated."""
        lines, font = [""], self.bold if bold else self.font
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.draw.textlength(longer, font) > width - GAP:
                lines.append(word)
            else:
                lines[-1] = longer
        self.draw.text((x + 2, y + 2), "\n".join(lines[: max(1, height // LINE)]), "#222222", font)
