"""From archives to rows: prompt files, centre crops, annotations cropped with their image, invalid input by line."""

import json
import re
import zipfile

import numpy
import pytest
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import images, zip_archives
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control import hints, prompts
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
    square = numpy.asarray(control_data.square(Image.fromarray(pixels), 96))
    classes = control_data.square_annotation(labels, (64, 48), 96)
    left, top, right, bottom = control_data.square_annotation(point, (64, 48), 96).ravel()
    assert (left, top, right, bottom) == (24, 24, 48, 48)  # (20 − 8) × 2, 12 × 2
    inside = numpy.zeros((96, 96), bool)
    inside[24:48, 24:48] = True
    assert ((classes == 7) == inside).all() and ((square[..., 0] > 127) == inside).all()
    # A square of the right size is left as it is.
    whole = Image.fromarray(picture(SIDE, SIDE))
    assert control_data.square(whole, SIDE).tobytes() == whole.tobytes()


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


def test_colours_are_the_nearest_class_within_the_tolerance_or_none():
    classes = numpy.arange(150, dtype=numpy.uint8).reshape(10, 15)
    classes[classes == 48] = 6  # skyscraper and road look the same
    drawn = numpy.asarray(hints.segmentation(Image.new("RGB", (15, 10)), classes)).astype(int)
    shifted = drawn + numpy.where(drawn > 127, -2, 2)  # half of the distance between the two most similar colours
    found, others = hints.classes_of_colours(zip_archives.NamedBytes(png(shifted), "x"))
    assert (found == classes).all() and not others
    far = numpy.full((4, 5, 3), (99, 1, 77))
    far[0, :2] = (0, 0, 3), drawn[0, 0]  # nearly black, which is no class, and a class
    found, others = hints.classes_of_colours(zip_archives.NamedBytes(png(far), "x"))
    assert found[0, 1] == 0 and (numpy.delete(found.ravel(), 1) == hints.IGNORED).all()
    assert others == {"#63014d": 0.9}


def shown(seed: int) -> bytes:
    return control_data.square(Image.fromarray(picture(seed=seed)), SIDE).tobytes()


def test_rows_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(control_data, "BATCH", 2)  # three rows: more than one batch
    labels = {f"{key}.png": png(numpy.full((48, 64), key)) for key in range(3)}
    split = make(tmp_path, write(tmp_path, labels))
    for row, (image, prompt, hint) in enumerate(split):
        assert image.tobytes() == shown(row) and prompt == f"picture {row}"
        assert hint.tobytes() == hints.canny(image).tobytes()
        assert (split.annotation(row) == (row - 1 if row else hints.IGNORED)).all()
    assert len(split) == row + 1 == 3 and len(make(tmp_path, write(tmp_path, {}, take={"train": 2}))) == 2


def test_prompts_in_the_config_by_category_or_for_the_nth_file(tmp_path):
    dataset = write(tmp_path, {})
    places = dataset["splits"]["train"]
    places["prompts"] = [{"image": "2.jpg", "prompt": "the third"}]
    assert [(one.tobytes(), prompt) for one, prompt, _ in make(tmp_path, dataset)] == [(shown(2), "the third")]
    with pytest.raises(JobError, match=r"split train \(in the config\): expected 2 rows, found 1"):
        make(tmp_path, dataset | {"rows": {"train": 2}})

    places["prompts"] = "set.jsonl"
    (tmp_path / "set.jsonl").write_text("0 living_room\n1 airport_terminal\nother_2 beach\n")
    split = make(tmp_path, dataset | {"splits": {"train": places | {"keys": "[0-9]*"}}})
    assert [split.value(row, "prompt") for row in range(2)] == ["living room", "airport terminal"]

    places["image"] = "set.zip:color/*.png"
    assert make(tmp_path, dataset).picture(2).tobytes() == shown(2)
    places["image"] = "set.zip:color/[01].p*"
    with pytest.raises(JobError, match=r"expected 3 files that match set.zip:color/\[01\].p\*, .* found 2"):
        make(tmp_path, dataset)


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
    with pytest.raises(JobError, match=r"notes/0.png: expected the proportions of its .* found 32 × 32 and 64 × 48"):
        make(tmp_path, dataset)


@pytest.mark.parametrize(
    ("annotations", "changes", "message"),
    [
        ({"0.png": png(numpy.zeros((48, 60)))}, {}, r"0.png: expected 64 × 48 pixels, .* found 60 × 48"),
        ({"0.txt": b"0.5 0.25\n" * 68}, {"kind": "points"}, r"split train, image '0': .*txt: expected .* in pixels"),
        ({}, {"rows": {"train": 5}}, r"split train \(set.jsonl\): expected 5 rows, found 1"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, annotations, changes, message):
    with pytest.raises(JobError, match=message):
        make(tmp_path, write(tmp_path, annotations, 1, **changes))


def test_the_example_of_the_docs_saves_a_control_image(tiny_control, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/results.md").read_text(), re.DOTALL)
    example = example.replace("resources/hints/coco.manifest.json", str(tiny_control["canny"])).replace("[17]", "[0]")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert names["prompt"] and Image.open("control.png").size == names["image"].size


def file(text: str | bytes) -> zip_archives.NamedBytes:
    return zip_archives.NamedBytes(text if isinstance(text, bytes) else text.encode(), "prompts")


def test_prompts_as_oft_and_as_coco_write_them():
    expected = [("0", "a house"), ("1", "a tree")]
    lines = ['{"source": "source/0.png", "target": "target/0.png", "prompt": "a house"}', ""]
    assert prompts.read(file("\n".join([*lines, '{"source": "source/1.png", "prompt": "a tree"}']))) == expected
    listed = [{"image": f"{key}.jpg", "prompt": prompt} for key, prompt in expected]
    assert prompts.read(file(json.dumps(listed))) == expected
    captions = [(7, "a house "), (9, "a tree"), (7, "another")]
    notes = [{"image_id": image, "caption": caption} for image, caption in captions]
    images = [{"id": 9, "file_name": "1.jpg"}, {"id": 7, "file_name": "0.jpg"}]
    assert prompts.read(file(json.dumps({"images": images, "annotations": notes}))) == expected


def test_prompts_that_are_wrong_in_both_splits(tmp_path):
    places = {}
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text('{"image": "0.png", "prompt": ""}')
        places[split] = {"prompts": f"{split}.jsonl", "image": "{key}.png"}
    with pytest.raises(JobError, match=r"(?s)train.jsonl, row 1, column prompt: .*\n.*validation.jsonl, row 1, "):
        control_data.check(tmp_path, {"hint": "canny", "resolution": 32, "splits": places})
    places["train"]["prompts"] = [{"image": "2.jpg", "prompt": "a\0"}]
    with pytest.raises(JobError, match=r"the config, entry 1, column prompt: expected text, found the character NUL"):
        control_data.Maker(None, {"splits": places}, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 beach\n1 café\n".encode("latin-1"), "prompts, line 2: expected text in UTF-8, found the byte 0xe9"),
        ("<html>", r"prompts: expected JSON Lines .* Correct the file or `prompts`"),
        ('{"image": "0.png", "prompt": "a"}\n\nnot JSON\n', "prompts, line 3: expected JSON, found 'not JSON'"),
        ('[["0", "a house"]]', "prompts, row 1: expected an object, found .*a house"),
        ("0 beach\n1 living room\n2 house\n", "prompts, line 2: expected KEY CATEGORY, found '1 living room'"),
        ('{"images": [{"id": 7, "file_name": "0.jpg"}], "annotations": []}', "prompts, image 7, column prompt: expect"),
        ('{"image": "a.jpg", "prompt": "one", "prompt": "two"}', "each column once, found 'prompt' more than once"),
    ],
)
def test_a_problem_of_a_prompt_file_has_its_line(text, message):
    with pytest.raises(JobError, match=message):
        prompts.read(file(text))


def test_a_few_empty_prompts_of_many_are_kept():
    lines = [json.dumps({"image": f"{key}.png", "prompt": "" if key == 1 else "a"}) for key in range(1000)]
    assert prompts.read(file("\n".join(lines)))[1] == ("1", "")
    with pytest.raises(JobError, match="line 2, column prompt: expected text, found none"):
        prompts.read(file("\n".join(lines[:999])))
