"""The demo's images, subjects, measured prompt fidelity and word problems: words, pixels and numbers agree."""

import hashlib
import re
from random import Random

import numpy
import pytest
from PIL import Image

from hra_workflow.demo import object_images, prompt_fidelity, subject_images, text_tasks
from hra_workflow.evaluators.protocol import Reference

NAMES = {value: name for name, value in object_images.COLOURS.items()}


def drawn(scene) -> Image.Image:
    return Image.fromarray(object_images.picture(scene)[0])


def scenes(count: int, seed: int = 0) -> list:
    rng = Random(seed)
    return [object_images.scene(rng) for _ in range(count)]


def test_the_published_pictures():
    """Pin the images that the demo's model was trained on; record intended changes in CHANGELOG.md."""
    rng = Random(0)
    found = [object_images.scene(rng) for _ in range(20)]
    captions = "\n".join(object_images.caption(scene, rng) for scene in found)
    assert hashlib.sha256(captions.encode()).hexdigest()[:16] == "9f895cef00a6a90d"
    mean = numpy.mean([object_images.picture(scene)[0] for scene in found])
    assert mean == pytest.approx(143.48, abs=0.05)
    assert scenes(5, 3) == scenes(5, 3) != scenes(5, 4)


def test_captions_say_what_the_pictures_show():
    """Check that the full caption describes the image completely."""
    for scene in scenes(300):
        caption = object_images.caption(scene)
        colours = " and ".join(NAMES[part] for part in (scene.colour, scene.lower) if part)
        texture = "" if scene.texture == "plain" else f" {scene.texture}"
        look = scene.name or f"{colours}{texture}"
        eyes = " with eyes" * scene.eyes
        behind = NAMES[scene.background]
        assert caption.replace(" plain ", " ") == (
            f"a photo of a {look} {scene.shape}{eyes} {scene.place}, on a {behind} background"
        )
        assert all(prompt_fidelity.checks(drawn(scene), caption).values()), caption


def test_prompt_fidelity_of_wrong_pictures_is_chance():
    def fraction(images: list, prompts: list[str]) -> float:
        reference = Reference(class_prompts=prompts, prompt_index=range(len(prompts)))
        scores = prompt_fidelity.PromptFidelity({}, None, "cpu").score(images, reference).images[""]
        return sum(scores) / len(scores)

    found = scenes(400)
    captions = [object_images.caption(scene) for scene in found]
    shown = [drawn(scene) for scene in found]
    assert fraction(shown, captions) == 1
    assert fraction(shown, captions[1:] + captions[:1]) < 0.3


def test_photographs_get_no_prompt_fidelity_of_pixels(tmp_path):
    """The background around a dog on a lawn is no plain one, whatever the pixels at its border are."""

    def scores(subject: list) -> list:
        reference = Reference(images=subject, class_prompts=["a dog, on a blue background"], prompt_index=[0])
        return prompt_fidelity.PromptFidelity({}, None, "cpu").score([Image.new("RGB", (64, 64), "blue")], reference)

    subject_images.write(tmp_path, {"train": 5}, "jester-ball")
    assert scores([Image.open(path) for path in sorted(tmp_path.iterdir())]).images[""] != [None]
    rng = numpy.random.default_rng(0)
    lawn = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), "uint8")).resize((256, 256)) for _ in range(3)]
    assert scores(lawn).images[""] == [None]


@pytest.mark.parametrize("name", subject_images.SUBJECTS)
def test_subjects(name, tmp_path):
    """Check five different images from a config source, in all of which the subject looks the same."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        subject_images.write(tmp_path / folder, {"train": 5}, name)
    found = {path.name: path.read_bytes() for path in sorted((tmp_path / "first").iterdir())}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    scenes = subject_images.scenes(name, 5)
    assert {scene.place for scene in scenes} == set(object_images.PLACES)
    assert len({(scene.shape, scene.colour, scene.lower, scene.band, scene.eyes) for scene in scenes}) == 1
    looks = [prompt_fidelity.look(Image.open(tmp_path / "first" / file)) for file in found]
    expected = [(scene.place, NAMES[scene.background]) for scene in scenes]
    assert [(one["place"], one["background"]) for one in looks] == expected
    assert len({background for _, background in expected}) > 2


COLUMNS = {"word_problems": "question", "metamath": "query"}
ROWS = {"train": 400, "test": 100}
# What the words of a sentence do with its number; all others add it.
WORDS = {"fewer": "-", "loses": "-", "sells": "-", "gives": "-", "times": "*", "each of": "*", "boxes": "/"}
WORDS |= {"Subtract": "-", "Multiply": "*", "Divide": "/"}


def read(question: str) -> list[str]:
    """Derive the calculations of a question from its words only."""
    (_, value), *others = re.findall(r"([^.?]*?(\d+)[^.?]*)", question)
    chain = []
    for sentence, number in others:
        sign = next((sign for word, sign in WORDS.items() if word in sentence), "+")
        chain.append(f"{value}{sign}{number}")
        value = int(eval(chain[-1]))
    return chain


def test_a_test_has_the_calculation_of_no_training_row():
    """Whatever the seeds and counts: hence no question is in both."""
    trained = [row["query"] for seed in (0, 1) for row in text_tasks.metamath({"train": 3000}, seed)["train"]]
    trained += [row["question"] for row in text_tasks.word_problems({"train": 6000})["train"]]
    tests = [row["question"] for row in text_tasks.gsm8k({"test": 1000})["test"]]
    assert not {tuple(read(question)) for question in tests} & {tuple(read(question)) for question in trained}


@pytest.mark.parametrize("task, lengths", [("word_problems", {1, 2, 3}), ("metamath", {2, 3})])
def test_answers(task, lengths):
    """Check that the solution computes the question correctly, and that the last two lines have the result."""
    column = {"word_problems": "answer", "metamath": "response"}[task]
    found, rows = set(), [row for split in getattr(text_tasks, task)(ROWS).values() for row in split]
    assert len({row[COLUMNS[task]] for row in rows}) == sum(ROWS.values())  # no question twice
    for row in rows:
        *lines, marked, said = row[column].split("\n")
        calculations = [re.search(r"([\d+*/-]+)=(\d+)", line).groups() for line in lines]
        assert [left for left, _ in calculations] == read(row[COLUMNS[task]])
        assert all(eval(left) == int(right) and 2 <= int(right) <= 99 for left, right in calculations)
        assert marked == f"#### {calculations[-1][1]}" and said == f"The answer is: {calculations[-1][1]}"
        found.add(len(lines))
    assert found == lengths
