"""The demo's images, subjects, measured prompt fidelity and word problems: words, pixels and numbers agree."""

import hashlib
import json
import re
from collections import Counter
from random import Random

import numpy
import pytest
from PIL import Image

from hra_workflow.demo import object_images, prompt_fidelity, subject_images, text_tasks
from hra_workflow.evaluators.protocol import Reference

ROWS = {"train": 400, "test": 100}
NAMES = {value: name for name, value in object_images.COLOURS.items()}


# Of the first rows, which the demo's model and numbers depend on; record intended changes in CHANGELOG.md.
PUBLISHED = {
    "sentiment": "a291a44ecfa0b6a6",
    "word_problems": "6dc3f1df52582f29",
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


def test_sentences_are_different_and_their_classes_balanced():
    splits = text_tasks.sentiment(ROWS, 0)
    texts = [row["sentence"] for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts) == sum(ROWS.values())  # within a split and between two
    assert Counter(row["label"] for row in splits["train"]) == {0: 200, 1: 200}


def test_captions_say_what_their_own_images_show():
    rng = Random(0)
    scenes = [object_images.scene(rng) for _ in range(100)]
    captions = [object_images.caption(scene) for scene in scenes]
    images = [Image.fromarray(object_images.picture(scene)[0]) for scene in scenes]

    def right(captions: list[str]) -> int:
        return sum(all(prompt_fidelity.checks(*pair).values()) for pair in zip(images, captions, strict=True))

    assert right(captions) == 100 and right([*captions[1:], captions[0]]) < 30


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
def test_a_subject_looks_the_same_in_five_different_images(name, tmp_path):
    subject_images.write(tmp_path, {"train": 5}, name)
    scenes = subject_images.scenes(name, 5)
    assert {scene.place for scene in scenes} == set(object_images.PLACES)
    assert len({(scene.shape, scene.colour, scene.lower, scene.band, scene.eyes) for scene in scenes}) == 1
    looks = [prompt_fidelity.look(Image.open(path)) for path in sorted(tmp_path.iterdir())]
    expected = [(scene.place, NAMES[scene.background]) for scene in scenes]
    assert [(one["place"], one["background"]) for one in looks] == expected


COLUMNS = {"word_problems": "question", "metamath": "query"}
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
