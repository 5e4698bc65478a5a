"""Subjects whose images have captions: their checks, the images that are trained on, and their files."""

import io
import json

import numpy
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import download
import rule_jobs
from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources
from support import paper_config

CAPTIONS = ["{subject} on a chair", "a box in front of {subject}", "sleepy {subject}", "{subject} in the rain"]
ENTRY = {"class": "cat", "captions": CAPTIONS, "splits": {"test": [3, 1]}}
COMMIT = "c0ffee" + "0" * 34


def configured(entry: dict) -> dict:
    config = paper_config()
    config["datasets"]["subject"] = {"mine": {"source": {"kind": "local", "path": "cat"}} | entry}
    config["tasks"]["subject"] |= {"grid": [{"runs": ["hra/r8"], "datasets": ["mine"], "seeds": [0]}], "resolution": 32}
    return config


def test_each_image_is_trained_with_its_caption_and_those_of_the_test_split_are_prompts():
    config = configured(ENTRY)
    validation.check(config)
    subject = tasks.load(config)["subject"]
    assert subject.training_prompts("mine") == {
        "subject": "qwe cat",
        "instance": ["qwe cat on a chair", None, "sleepy qwe cat", None],
        "class": "a photo of cat",
    }
    assert subject.prompts("mine") == ["qwe cat in the rain", "a box in front of qwe cat"]
    scored = subject.scoring_settings("mine")
    assert scored["references"] == [3, 1] and scored["prompts_class"] == ["cat in the rain", "a box in front of cat"]
    assert subject.work("generate", {"dataset": "mine", "method": "hra", "variant": "r8", "n_shards": 1}) == 11 * 2 * 4


def test_official_prompts_of_the_class_are_those_of_the_subject_without_its_identifier():
    config = paper_config()
    config["tasks"]["subject"]["evaluation"]["prompts"] = "official"
    scored = tasks.load(config)["subject"].scoring_settings("dog")
    assert scored["prompts_class"] == [prompt.replace("qwe ", "") for prompt in scored["prompts"]] != scored["prompts"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": None}, r"mine.splits: needs captions, one per image"),
        ({"splits": {"valid": [0]}}, r"expected one of prompts, .* and splits.test, .*; found neither"),
        ({"splits": {"test": [4]}}, r"mine.splits: expected numbers of images, 0 to 3, found 4"),
        ({"splits": {"test": [1], "valid": [1]}}, r"mine.splits: image 1 is listed twice"),
        ({"splits": {"test": [0, 1, 2, 3]}}, r"mine.splits: no image is left to train on"),
        ({"captions": ["a cat"]}, r"captions.0: expected a prompt with \{subject\}, found 'a cat'"),
    ],
)
def test_captions_that_do_not_fit_are_errors(changes, message):
    entry = {key: value for key, value in (ENTRY | changes).items() if value is not None}
    with pytest.raises(JobError, match=message):
        validation.check(configured(entry))


def encoded(number: int, form: str = "png") -> bytes:
    pixels = numpy.random.default_rng(number).integers(0, 256, (32, 40, 3), numpy.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), form)
    return stream.getvalue()


HUB = {"kind": "hub", "repo": "org/cats", "repo_type": "dataset", "revision": COMMIT}


def serve(hub_server, contents: dict[str, bytes]) -> None:
    """Serve the files of the repository."""
    listed = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in contents]
    hub_server.files[f"/api/datasets/org/cats/tree/{COMMIT}?recursive=true&expand=false"] = json.dumps(listed).encode()
    for name, content in contents.items():
        hub_server.hub_file("org/cats", COMMIT, name, content, kind="datasets/")


def fetched(tmp_path, images: int = 4) -> dict:
    manifest = tmp_path / "cats.manifest.json"
    params = {"name": "subject/cats", "source": HUB, "dataset": {"resolution": 32, "images": images}}
    download.main(rule_jobs.download("dataset", str(manifest), **params))
    return files.read_json(manifest)


def test_images_in_a_parquet_file_of_the_hub_are_unpacked_in_order(tmp_path, hub_server):
    rows = [{"bytes": encoded(number), "path": name} for number, name in enumerate(["b.png", "a.jpg", None, "c.PNG"])]
    parquet.write_table(pyarrow.table({"image": rows, "n": list(range(4))}), stream := io.BytesIO())
    serve(hub_server, {"README.md": b"cats", "data/train-0.parquet": stream.getvalue()})
    record = fetched(tmp_path)
    assert list(record["files"]) == ["0.png", "1.jpg", "2.png", "3.png"]
    assert list(record["raw"]) == ["data/train-0.parquet"]
    assert [(tmp_path / "cats" / name).read_bytes() for name in record["files"]] == [row["bytes"] for row in rows]
    with pytest.raises(JobError, match=r"expected 5 images, one per caption, found 4: 0.png, 1.jpg"):
        fetched(tmp_path, images=5)
    serve(hub_server, {"README.md": b"cats"})
    with pytest.raises(JobError, match=r"org/cats: no usable files at c0ffee.* among README.md"):
        sources.of(HUB).fetch(tmp_path / "to", {"resolution": 32})
