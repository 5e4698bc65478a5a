"""Data of a given size without content, for the probes of `hra-workflow smoke`: generators of sources of kind `init`.

Texts repeat a word that is one token in most vocabularies. The first text of a split and every 128th after it have
`length` words, which a tokenizer truncates to the longest input; these are few, so most batches have a usual length.
The other texts have 1 to 2 × `typical` words.
"""

import json
import zipfile
from pathlib import Path

from hra_workflow.data.images import to_png

LONGEST = 128  # one text in this number has the largest length
WORD = "the"
ANSWER = "The answer is: 7"


def texts(rows: int, length: int, typical: int | None) -> list[str]:
    lengths = [length if row % LONGEST == 0 or not typical else 1 + 7 * row % (2 * typical) for row in range(rows)]
    return [" ".join([WORD] * min(count, length)) for count in lengths]


def labelled(
    columns: list[str], label: str, classes: int, rows: dict[str, int], length: int, typical: int | None = None
):
    """Return rows with texts and a class index."""
    return {
        split: [
            {column: text if column == columns[0] else WORD for column in columns} | {label: row % classes}
            for row, text in enumerate(texts(count, length, typical))
        ]
        for split, count in rows.items()
    }


def answered(rows: dict[str, int], length: int, typical: int | None = None):
    """Return rows with a question and an answer that ends with a final answer."""
    return {
        split: [{"question": WORD, "answer": f"{text}. {ANSWER}"} for text in texts(count, length, typical)]
        for split, count in rows.items()
    }


def image(size: int, row: int):
    """Return an RGB image of `size` × `size` pixels with a bright square on a gradient; `row` gives its position."""
    import numpy
    from PIL import Image

    ramp = numpy.linspace(0, 200, size, dtype=numpy.uint8)
    pixels = numpy.stack(
        [numpy.tile(ramp, (size, 1)), numpy.tile(ramp[:, None], (1, size)), numpy.full((size, size), 90)], 2
    )
    top = size // 3 + row % (size // 6)
    pixels[top : size // 6 + top, size // 3 : size // 2] = 250
    return Image.fromarray(pixels.astype(numpy.uint8))


def images(folder: Path, rows: dict[str, int], size: int) -> None:
    """Write images to a folder."""
    for row in range(rows["train"]):
        image(size, row).save(folder / f"{row}.png")


def scenes(folder: Path, rows: dict[str, int], size: int, points: int) -> None:
    """Write {split}.jsonl, and scenes.zip with {key}.png, {key}.classes.png and {key}.txt (`points` lines) per row."""
    import numpy
    from PIL import Image

    labels = numpy.ones((size, size), numpy.uint8)
    labels[size // 3 : size // 2, size // 3 : size // 2] = 2
    classes = Image.fromarray(labels)
    place = "\n".join(f"{size // 3 + point} {size // 2}" for point in range(points))
    annotation = {".classes.png": to_png(classes), ".txt": place.encode()}
    with zipfile.ZipFile(folder / "scenes.zip", "w") as archive:
        for split, count in rows.items():
            for row in range(count):
                for ending, data in (annotation | {".png": to_png(image(size, row))}).items():
                    archive.writestr(f"{split}/{row}{ending}", data)
            lines = [json.dumps({"image": f"{row}.png", "prompt": WORD}) for row in range(count)]
            (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
