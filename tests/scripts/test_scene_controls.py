"""Annotations of synthetic scenes, and their detection in exact images, wrong images and noise."""

import json
from dataclasses import replace
from random import Random

import numpy
import pytest
from PIL import Image

from hra_workflow.demo import object_images, scene_controls
from hra_workflow.demo.object_images import Scene
from hra_workflow.evaluators import edges, landmarks, segmentation
from hra_workflow.tasks.control import hints

SEGMENTER, DETECTOR = (kind({}, None, "cpu") for kind in (scene_controls.ObjectMask, scene_controls.ObjectPoints))


def scenes(count=60) -> list[Scene]:
    rng = Random(0)
    return [object_images.scene(rng) for _ in range(count)]


def drawn(scene: Scene) -> Image.Image:
    return Image.fromarray(object_images.picture(scene)[0])


def measured(shown: list, asked: list[Scene]) -> dict[str, float]:
    """Compute the means over images of the generation metrics."""
    areas, rows = [], []
    for picture, scene in zip(shown, asked, strict=True):
        truth = scene_controls.annotation(scene)
        areas.append(segmentation.class_areas(*SEGMENTER.classes([picture]), truth["classes"]))
        rows.append(
            landmarks.landmark_scores(DETECTOR.faces(picture), truth["points"], picture.size)
            | edges.edge_scores(picture, drawn(scene))
        )
    names = ("_error_all", "_iou", "_no_face")
    return {name: numpy.mean([row[name] for row in rows]) for name in names} | {
        "miou": segmentation.segmentation_scores(sum(areas))["_miou"]
    }


BALL = Scene("ball", (214, 40, 40), "plain", "in the middle", (238, 238, 238), x=30, y=40, radius=12)


def test_annotation_of_a_ball():
    found = scene_controls.annotation(BALL)
    assert (found["classes"] == scene_controls.OBJECT).sum() == pytest.approx(numpy.pi * 12**2, rel=0.02)
    assert found["points"] == pytest.approx(numpy.array([(30, 40), (18, 40), (42, 40), (30, 28), (30, 52)]), abs=0.5)


def test_annotation_moves_with_the_object():
    moved = scene_controls.annotation(replace(BALL, x=BALL.x + 5, y=BALL.y - 3))
    assert (moved["points"] - scene_controls.annotation(BALL)["points"] == [5, -3]).all()


def test_hints_fit_the_annotation():
    """Check that the three control signals also work on synthetic scenes."""
    for scene in scenes(10):
        picture, truth = drawn(scene), scene_controls.annotation(scene)
        hint = numpy.asarray(hints.draw("segmentation", picture, truth["classes"]))
        assert (hint[truth["classes"] == scene_controls.OBJECT] == hints.palette()[scene_controls.OBJECT]).all()
        assert numpy.asarray(hints.draw("landmarks", picture, truth["points"])).any()
        assert numpy.asarray(hints.draw("canny", picture)).any()


def test_exact_pictures_score_nearly_perfectly_and_others_do_not():
    asked = scenes()
    right = measured([drawn(scene) for scene in asked], asked)
    assert right["miou"] > 0.96 and right["_error_all"] < 0.5
    assert right["_iou"] == 1 and right["_no_face"] == 0
    # Conditioned on the prompt only: captioned attributes are correct, position and size differ.
    rng = Random(1)
    told = measured([drawn(object_images.arranged(rng, scene)) for scene in asked], asked)
    assert told["miou"] < 0.9 and told["_error_all"] > 2 and told["_iou"] < 0.4
    other = measured([drawn(scene) for scene in asked[1:] + asked[:1]], asked)
    assert other["miou"] < 0.7 and other["_error_all"] > 10 and other["_iou"] < 0.2


def test_noise_and_stray_pixels_change_little():
    generator = numpy.random.default_rng(0)
    asked, shown = scenes(20), []
    for scene in asked:
        pixels = numpy.array(drawn(scene)) + generator.normal(0, 8, (64, 64, 3))
        pixels[5, 5] = 255 - pixels[5, 5]
        shown.append(Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8)))
    found = measured(shown, asked)
    assert found["miou"] > 0.94 and found["_error_all"] < 1 and found["_no_face"] == 0


def test_a_picture_without_an_object():
    plain = Image.new("RGB", (64, 64), "blue")
    assert DETECTOR.faces(plain) == [] and (SEGMENTER.classes([plain])[0] == scene_controls.BACKGROUND).all()
    missing = measured([plain], [BALL])
    assert missing["_no_face"] == 1 and missing["_error_all"] > 40 and missing["_iou"] == 0


def test_where_the_object_is_no_prompt_tells(tmp_path):
    scene_controls.write(tmp_path, {"train": 50})
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len(set(prompts)) > 40 and not any(place in prompt for place in object_images.PLACES for prompt in prompts)
    assert not any("  " in prompt or " ," in prompt for prompt in prompts)
