"""From archives to rows: prompt formats, centre crops, annotations cropped with their image, invalid input."""

import io
import json
import re
import zipfile

import numpy
import pytest
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import images, zip_archives
from hra_workflow.tasks.control import crop, hints
from hra_workflow.tasks.control import data as control_data
from support import ROOT

SIDE = 32


def png(array) -> bytes:
    return images.to_png(Image.fromarray(numpy.asarray(array, numpy.uint8)))


def picture(width: int = 64, height: int = 48, seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), numpy.uint8)


def test_the_middle_of_a_picture_and_what_lies_in_it():
    """Check that a mark in the image, its class and its point stay together in the resized centre crop."""
    pixels, labels = numpy.zeros((48, 64, 3), numpy.uint8), numpy.full((48, 64), hints.IGNORED, numpy.uint8)
    pixels[12:24, 20:32], labels[12:24, 20:32] = 255, 7
    point = numpy.array([[20.0, 12.0], [32.0, 24.0]])
    square = numpy.asarray(crop.square(Image.fromarray(pixels), 96))
    classes = crop.square_annotation(labels, (64, 48), 96)
    left, top, right, bottom = crop.square_annotation(point, (64, 48), 96).ravel()
    assert (left, top, right, bottom) == (24, 24, 48, 48)  # (20 − 8) × 2, 12 × 2
    inside = numpy.zeros((96, 96), bool)
    inside[24:48, 24:48] = True
    assert ((classes == 7) == inside).all() and ((square[..., 0] > 127) == inside).all()
    # A square of the right size is left as it is.
    whole = Image.fromarray(picture(SIDE, SIDE))
    assert crop.square(whole, SIDE).tobytes() == whole.tobytes()


def colours(classes: numpy.ndarray) -> bytes:
    blank = Image.new("RGB", classes.shape[::-1])
    return images.to_png(hints.draw("segmentation", blank, classes))


def test_colours_are_classes_again():
    classes = numpy.arange(150, dtype=numpy.uint8).reshape(10, 15)
    classes[0, :3] = hints.IGNORED
    found, _ = hints.classes_of_colours(zip_archives.NamedBytes(colours(classes), "x"))
    assert (classes[found != classes], found[found != classes]) == (48, 6)  # skyscraper and road look the same
    with pytest.raises(JobError, match="x: cannot be decoded as an image"):
        hints.classes_of_colours(zip_archives.NamedBytes(colours(classes)[:60], "x"))


def test_other_colours_are_the_nearest_class_within_the_tolerance_or_none():
    classes = numpy.arange(150, dtype=numpy.uint8).reshape(10, 15)
    classes[classes == 48] = 6
    drawn = numpy.asarray(hints.draw("segmentation", Image.new("RGB", (15, 10)), classes)).astype(int)
    inwards = numpy.where(drawn > 127, -1, 1)  # stays within 0 to 255
    for shift in (0, 1, 2):  # half of the distance between the two most similar colours
        found, others = hints.classes_of_colours(zip_archives.NamedBytes(png(drawn + inwards * shift), "x"))
        assert (found == classes).all() and not others
    far = numpy.full((4, 5, 3), (99, 1, 77))
    far[0, 0] = (0, 0, 3)  # nearly black, which is no class
    far[0, 1] = drawn[0, 0]
    found, others = hints.classes_of_colours(zip_archives.NamedBytes(png(far), "x"))
    assert found[0, 1] == 0 and (numpy.delete(found.ravel(), 1) == hints.IGNORED).all()
    assert others == {"#63014d": 0.9}


def write(folder, annotations: dict[str, bytes], count: int = 3, kind: str = "classes", **changes) -> dict:
    """Write a dataset's archive to the folder and return its entry."""
    with zipfile.ZipFile(folder / "set.zip", "w") as out:
        for key in range(count):
            out.writestr(f"color/{key}.png", png(picture(seed=key)))
        for name, content in annotations.items():
            out.writestr(f"notes/{name}", content)
    lines = [json.dumps({"image": f"{key}.png", "prompt": f"picture {key}"}) for key in range(count)]
    (folder / "set.jsonl").write_text("\n".join(lines))
    places = {"prompts": "set.jsonl", "image": "set.zip:color/{key}.png"}
    if annotations:
        ending = next(iter(annotations)).partition(".")[2]
        places["annotation"] = {"kind": kind, "place": f"set.zip:notes/{{key}}.{ending}"}
    return {"hint": "canny", "splits": {"train": places}, "resolution": SIDE} | changes


def make(folder, dataset: dict) -> control_data.Split:
    maker = control_data.Maker(zip_archives.Folder(folder), dataset, "train")
    assert control_data.write(folder / "train.arrow", maker.rows, maker.make, SIDE, threads=2) == len(maker.rows)
    return control_data.Split(folder, "train")


def test_rows_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(control_data, "BATCH", 2)  # three rows: more than one batch
    labels = {f"{key}.png": png(numpy.full((48, 64), key)) for key in range(3)}
    split = make(tmp_path, write(tmp_path, labels))
    assert len(split) == 3
    for row in range(3):
        image, prompt, hint = split[row]
        expected = crop.square(Image.fromarray(picture(seed=row)), SIDE)
        assert image.tobytes() == expected.tobytes() and prompt == f"picture {row}"
        assert hint.tobytes() == hints.draw("canny", expected).tobytes()
        assert (split.annotation(row) == (row - 1 if row else hints.IGNORED)).all()
    with pytest.raises(IndexError):
        split[3]
    assert [prompt for _, prompt, _ in make(tmp_path, write(tmp_path, {}, take={"train": 2}))] == [
        "picture 0",
        "picture 1",
    ]


def test_prompts_in_the_config(tmp_path):
    dataset = write(tmp_path, {})
    dataset["splits"]["train"]["prompts"] = [{"image": "2.jpg", "prompt": "the third"}]
    split = make(tmp_path, dataset)
    square = crop.square(Image.fromarray(picture(seed=2)), SIDE)
    assert [(one.tobytes(), prompt) for one, prompt, _ in split] == [(square.tobytes(), "the third")]
    with pytest.raises(JobError, match=r"split train \(in the config\): expected 2 rows, found 1"):
        make(tmp_path, dataset | {"rows": {"train": 2}})


def test_a_16_bit_photograph_is_the_8_bit_one(tmp_path):
    grey, splits = picture()[..., 0], []
    for name, values in (("grey", grey), ("deep", grey.astype(numpy.uint16) * 257)):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "0.png")
        (tmp_path / name / "set.jsonl").write_text('{"image": "0.png", "prompt": "a"}')
        places = {"prompts": "set.jsonl", "image": "{key}.png"}
        splits.append(make(tmp_path / name, {"hint": "canny", "resolution": SIDE, "splits": {"train": places}}))
    first, second = ([one.tobytes() for one in (split.picture(0), split.hint(0))] for split in splits)
    assert first == second


def test_landmarks_are_scaled_with_the_picture(tmp_path):
    points = numpy.random.default_rng(0).uniform(10, 40, (68, 2))
    text = "".join(f"{x} {y}\n" for x, y in points.tolist()).encode()
    split = make(tmp_path, write(tmp_path, {"0.txt": text}, 1, "points", hint="landmarks"))
    assert numpy.allclose(split.annotation(0), (points - (8, 0)) * SIDE / 48)
    assert numpy.asarray(split.hint(0)).any()


def test_finished_control_images_are_used_as_they_are(tmp_path):
    finished = {f"{key}.png": png(picture(SIDE, SIDE, seed=9 + key)) for key in range(3)}
    dataset = write(tmp_path, finished, hint="landmarks")
    del dataset["splits"]["train"]["annotation"]
    dataset["splits"]["train"] |= {"image": "set.zip:notes/{key}.png", "control": "set.zip:notes/{key}.png"}
    split = make(tmp_path, dataset)
    for row in range(3):
        assert split.hint(row).tobytes() == picture(SIDE, SIDE, seed=9 + row).tobytes()
        assert split.annotation(row) is None
    dataset["splits"]["train"]["image"] = "set.zip:color/{key}.png"
    with pytest.raises(
        JobError, match=r"notes/0.png: expected the proportions of its image, found 32 × 32 and 64 × 48"
    ):
        make(tmp_path, dataset)


def test_scene_categories_are_prompts_of_the_images_that_are_named(tmp_path):
    dataset = write(tmp_path, {})
    (tmp_path / "set.jsonl").write_text("0 living_room\n1 airport_terminal\nother_2 beach\n")
    dataset["splits"]["train"]["keys"] = "[0-9]*"
    split = make(tmp_path, dataset | {"rows": {"train": 2}})
    assert [split.value(row, "prompt") for row in range(2)] == ["living room", "airport terminal"]
    with pytest.raises(JobError, match="expected 3 rows, found 2"):
        make(tmp_path, dataset | {"rows": {"train": 3}})


def test_the_nth_file_where_prompts_name_none(tmp_path):
    dataset = write(tmp_path, {})
    dataset["splits"]["train"]["image"] = "set.zip:color/*.png"
    assert make(tmp_path, dataset).picture(2).tobytes() == crop.square(Image.fromarray(picture(seed=2)), SIDE).tobytes()
    dataset["splits"]["train"]["image"] = "set.zip:color/[01].p*"
    with pytest.raises(JobError, match=r"expected 3 files that match set.zip:color/\[01\].p\*, .* found 2"):
        make(tmp_path, dataset)


@pytest.mark.parametrize(
    ("annotations", "changes", "message"),
    [
        ({"0.png": png(numpy.zeros((48, 60)))}, {}, r"0.png: expected 64 × 48 pixels, .* found 60 × 48"),
        ({"0.png": png(numpy.full((48, 64), 200))}, {}, r"notes/0.png: expected ADE20K's labels .*found 200"),
        ({"0.txt": b"1 2\n" * 136}, {"kind": "points"}, r"expected 68 lines .* found 136 lines"),
        (
            {"0.txt": b"0.5 0.25\n" * 68},
            {"kind": "points"},
            r"split train, image '0': .*set.zip:notes/0.txt: expected landmarks in pixels",
        ),
        ({}, {"rows": {"train": 5}}, r"split train \(set.jsonl\): expected 5 rows, found 1"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, annotations, changes, message):
    with pytest.raises(JobError, match=message):
        make(tmp_path, write(tmp_path, annotations, 1, **changes))


def test_a_file_of_hints_that_is_cut_off(tmp_path):
    make(tmp_path, write(tmp_path, {}))
    path = tmp_path / "train.arrow"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(JobError, match=r"train.arrow: expected a file of control images"):
        control_data.Split(tmp_path, "train")
    with pytest.raises(JobError, match=r"test.arrow: expected a file of control images"):
        control_data.Split(tmp_path, "test")


def test_damaged_pictures_are_named():
    content = png(picture())
    with pytest.raises(JobError, match=r"set.zip:0.png: cannot be decoded as an image"):
        images.load(zip_archives.NamedBytes(content[: len(content) // 2], "set.zip:0.png"))
    assert images.load(io.BytesIO(content)).size == (64, 48)


def test_the_example_of_the_docs_saves_a_control_image(tiny_control, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/results.md").read_text(), re.DOTALL)
    example = example.replace("resources/hints/coco.manifest.json", str(tiny_control["canny"])).replace("[17]", "[0]")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert names["prompt"] and Image.open("control.png").size == names["image"].size
