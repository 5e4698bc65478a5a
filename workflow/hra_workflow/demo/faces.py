"""dlib's annotated example faces in CelebA-HQ's format: one face per image, with its 68 points."""

import json
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import numpy
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.demo import scene_controls

FILES = {"train": "training_with_face_landmarks.xml", "validation": "testing_with_face_landmarks.xml"}
SIDE = 512  # pixels
PROMPT = "a photo of a face"


def annotated(path: Path) -> list[tuple[Image.Image, numpy.ndarray]]:
    """Crop every face of imglab's XML file, centred and twice as wide as its box, and return it with its points.

    The points are (68, 2) of x and y in pixels of the crop.
    """
    found = []
    for image in ElementTree.parse(path).getroot().iter("image"):
        with images.decode(path.parent / image.get("file")) as photograph:
            picture = photograph.convert("RGB")
        for box in image.iter("box"):
            parts = sorted(box.iter("part"), key=lambda part: part.get("name"))
            points = numpy.array([(int(part.get("x")), int(part.get("y"))) for part in parts], float)
            left, top, side = (int(box.get(name)) for name in ("left", "top", "width"))
            x, y = left - side // 2, top - side // 2
            cut = picture.crop((x, y, x + 2 * side, y + 2 * side))  # black outside of the image
            moved = (points - (x, y) + 0.5) * SIDE / (2 * side) - 0.5  # pixel coordinates refer to pixel centres
            found.append((cut.resize((SIDE, SIDE), Image.Resampling.BICUBIC), moved))
    return found


def write(folder: Path, rows: dict[str, int], path: str, local_root: str) -> None:
    """Write `faces.zip` with color/ and points/ for every face in the folder `path`, and {split}.jsonl."""
    place = (Path(local_root).expanduser() / path).resolve()
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for split, count in rows.items():
            if not (place / FILES[split]).is_file():
                raise JobError(f"No file {place / FILES[split]}. Correct `path` or local_root.")
            found = annotated(place / FILES[split])
            if len(found) != count:
                raise JobError(f"{place / FILES[split]}: expected {count} faces, found {len(found)}. Correct `rows`.")
            for index, (picture, points) in enumerate(found):
                scene_controls.add(archive, f"{split}/color/{index}.png", images.to_png(picture))
                scene_controls.add(archive, f"{split}/points/{index}.txt", scene_controls.coordinates(points))
            prompts = [json.dumps({"image": f"{index}.png", "prompt": PROMPT}) for index in range(count)]
            (folder / f"{split}.jsonl").write_text("\n".join(prompts) + "\n")
