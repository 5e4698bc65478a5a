"""Subjects whose images have captions: their checks, the images that are trained on, and their files."""

import io
import json

import numpy
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

import augment
import diffusion_models
import download
import rule_jobs
import subjects
import train_subject
from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources
from hra_workflow.models import diffusion
from hra_workflow.tasks import user_data
from hra_workflow.tasks.subject import dreambooth
from support import downloaded, method, paper_config

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
    scored = tasks.load(config)["subject"].scoring_settings("backpack")
    assert scored["prompts_class"] == [prompt.replace("qwe ", "") for prompt in scored["prompts"]] != scored["prompts"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": None}, r"mine.splits: needs captions, one per image"),
        ({"splits": {"valid": [0]}}, r"expected one of prompts, .* and splits.test, .*; found neither"),
        ({"prompts": "live"}, r"expected one of prompts, .* and splits.test, .*; found both"),
        ({"captions": []}, r"captions: expected at least 1 of them"),
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


@pytest.mark.usefixtures("fresh_accelerator")
def test_a_tiny_flux2_is_trained_on_captions_with_a_base_in_bf16(tmp_path, monkeypatch):
    targets = diffusion.ARCHITECTURES["flux2-klein"].targets["all_linear"]
    model = diffusion_models.source("flux2-klein-base-4b")
    given = downloaded(tmp_path, model, "subject/jester-ball", subjects.DATASET)
    settings = {"max_steps": 3, "epoch_steps": 3, "prior_weight": 0.0, "crop": "center", "base_precision": "bf16"}
    run = subjects.SubjectRun(tmp_path / "run", given, method("hra", targets=targets), **settings)
    augment.main(run.augment)
    plain, seen = dreambooth.Trainer.loss, set()

    def loss(self, samples):
        seen.update(part["prompt"] for sample in samples for part in sample)
        types = {one.dtype: one.requires_grad for one in self.unwrapped.parameters()}
        assert types == {torch.bfloat16: False, torch.float32: True}
        assert self.conditions["encoder_hidden_states"].shape[0] == 3
        return plain(self, samples)

    monkeypatch.setattr(dreambooth.Trainer, "loss", loss)
    job = run.train
    job["input"]["class_images"] = []
    job["params"]["prompts"] |= {"instance": ["a qwe ball", None, "qwe ball far away"], "text_layers": [9, 18, 28]}
    with pytest.raises(JobError, match=r"text_layers: expected numbers up to 27, .* found 28. Correct tasks.subject"):
        train_subject.main(job)
    job["params"]["prompts"]["text_layers"] = [1, 2, 3]
    train_subject.main(job)
    assert seen == {0, 1} and files.read_json(job["output"]["record"])["steps"] == 3


def encoded(number: int, form: str = "png") -> bytes:
    pixels = numpy.random.default_rng(number).integers(0, 256, (32, 40, 3), numpy.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), form)
    return stream.getvalue()


def test_another_number_of_images_than_captions_is_an_error_of_the_dry_run(here, tmp_path):
    (tmp_path / "cat").mkdir()
    for number in range(3):
        (tmp_path / f"cat/{number}.png").write_bytes(encoded(number))
    subject = tasks.load(configured(ENTRY))["subject"]
    with pytest.raises(JobError, match=r"expected 4 images, one per caption, found 3: 0.png, .*. Correct .*/cat"):
        user_data.check(subject, "mine")
    (tmp_path / "cat/3.png").write_bytes(encoded(3))
    user_data.check(subject, "mine")


HUB = {"kind": "hub", "repo": "org/cats", "repo_type": "dataset", "revision": COMMIT}


def serve(hub_server, contents: dict[str, bytes]) -> None:
    """Serve the files of the repository."""
    listed = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in contents]
    hub_server.files[f"/api/datasets/org/cats/tree/{COMMIT}?recursive=true&expand=false"] = json.dumps(listed).encode()
    for name, content in contents.items():
        hub_server.hub_file("org/cats", COMMIT, name, content, kind="datasets/")


def fetched(tmp_path, images: int = 4) -> dict:
    manifest = tmp_path / "cats.manifest.json"
    dataset = {"resolution": 32, "images": images}
    params = {"name": "subject/cats", "source": HUB, "dataset": dataset}
    download.main(rule_jobs.download("dataset", str(manifest), **params))
    return files.read_json(manifest)


def table(*rows: dict) -> bytes:
    parquet.write_table(pyarrow.table({"image": list(rows), "n": list(range(len(rows)))}), stream := io.BytesIO())
    return stream.getvalue()


def test_images_in_a_parquet_file_of_the_hub_are_unpacked_in_order(tmp_path, hub_server):
    rows = [{"bytes": encoded(number), "path": name} for number, name in enumerate(["b.png", "a.jpg", None, "c.PNG"])]
    serve(hub_server, {"README.md": b"cats", "data/train-0.parquet": table(*rows)})
    record = fetched(tmp_path)
    assert list(record["files"]) == ["0.png", "1.jpg", "2.png", "3.png"]
    assert list(record["raw"]) == ["data/train-0.parquet"]
    assert [(tmp_path / "cats" / name).read_bytes() for name in record["files"]] == [row["bytes"] for row in rows]
    with pytest.raises(JobError, match=r"expected 5 images, one per caption, found 4: 0.png, 1.jpg"):
        fetched(tmp_path, images=5)


def test_without_files_a_source_of_the_hub_is_all_that_the_dataset_uses(tmp_path, hub_server):
    serve(hub_server, {f"{number}.png": encoded(number) for number in range(4)} | {"README.md": b"cats"})
    assert list(fetched(tmp_path)["files"]) == ["0.png", "1.png", "2.png", "3.png"]
    serve(hub_server, {"README.md": b"cats"})
    with pytest.raises(JobError, match=r"org/cats: no usable files at c0ffee.* among README.md"):
        sources.of(HUB).fetch(tmp_path / "to", {"resolution": 32})
