"""The demo's images, subjects, measured prompt fidelity and word problems: words, pixels and numbers agree."""

import hashlib
import json
import re
from random import Random

import numpy
import pytest
from PIL import Image

from hra_workflow.demo import object_images, prompt_fidelity, subject_images, text_tasks

ROWS = {"train": 400, "test": 100}
NAMES = {value: name for name, value in object_images.COLOURS.items()}


# Of the first rows, which the demo's model and numbers depend on; record intended changes in CHANGELOG.md.
PUBLISHED = {
    "sentiment": "a291a44ecfa0b6a6",
    "metamath": "935cb28432812946",
    "gsm8k": "f4a8c377c40408ef",
}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_rows_and_images_are_the_published_ones():
    sizes = {"train": 20, "validation": 10}
    assert {task: digest(json.dumps(getattr(text_tasks, task)(sizes, 0))) for task in PUBLISHED} == PUBLISHED
    rng = Random(0)
    found = [object_images.scene(rng) for _ in range(20)]
    assert digest("\n".join(object_images.caption(scene, rng) for scene in found)) == "9f895cef00a6a90d"
    mean = numpy.mean([object_images.picture(scene)[0] for scene in found])
    assert mean == pytest.approx(143.48, abs=0.05)


def test_captions_say_what_their_own_images_show():
    rng = Random(0)
    scenes = [object_images.scene(rng) for _ in range(100)]
    captions = [object_images.caption(scene) for scene in scenes]
    images = [Image.fromarray(object_images.picture(scene)[0]) for scene in scenes]

    def right(captions: list[str]) -> int:
        return sum(all(prompt_fidelity.checks(*pair).values()) for pair in zip(images, captions, strict=True))

    assert right(captions) == 100 and right([*captions[1:], captions[0]]) < 30


@pytest.mark.parametrize("name", subject_images.SUBJECTS)
def test_a_subject_looks_the_same_in_five_different_images(name, tmp_path):
    subject_images.write(tmp_path, {"train": 5}, name)
    scenes = subject_images.scenes(name, 5)
    assert {scene.place for scene in scenes} == set(object_images.PLACES)
    assert len({(scene.shape, scene.colour, scene.lower, scene.band, scene.eyes) for scene in scenes}) == 1
    looks = [prompt_fidelity.look(Image.open(path)) for path in sorted(tmp_path.iterdir())]
    expected = [(scene.place, NAMES[scene.background]) for scene in scenes]
    assert [(one["place"], one["background"]) for one in looks] == expected


def test_answers():
    """Check that every calculation is correct, and that the last two lines have the result."""
    found, rows = set(), [row for split in text_tasks.metamath(ROWS).values() for row in split]
    assert len({row["query"] for row in rows}) == sum(ROWS.values())  # no question twice
    for row in rows:
        *lines, marked, said = row["response"].split("\n")
        calculations = [re.search(r"([\d+*/-]+)=(\d+)", line).groups() for line in lines]
        assert all(eval(left) == int(right) and 2 <= int(right) <= 99 for left, right in calculations)
        assert marked == f"#### {calculations[-1][1]}" and said == f"The answer is: {calculations[-1][1]}"
        found.add(len(lines))
    assert found == {2, 3}


def test_a_test_has_the_calculation_of_no_training_row():
    """Whatever the seeds and counts: hence no question is in both."""

    def calculations(rows: list[dict], column: str) -> set[tuple]:
        return {tuple(re.findall(r"[\d+*/-]+=\d+", row[column])) for row in rows}

    trained = calculations(text_tasks.metamath({"train": 3000}, 1)["train"], "response")
    assert not calculations(text_tasks.gsm8k({"test": 1000})["test"], "answer") & trained
