"""The demo's tasks: the same on every machine, no row twice, classes balanced, labels right."""

import hashlib
import json
import random
from collections import Counter

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.demo import paraphrase_scenes, text_tasks, vocabulary

TASKS = {
    "sentiment": ["sentence"],
    "paraphrase": ["sentence1", "sentence2"],
}
ROWS = {"train": 1000, "validation": 200}


# Of 20 and 10 rows, which the demo's numbers depend on; record intended changes in CHANGELOG.md.
PUBLISHED = {
    "sentiment": "a291a44ecfa0b6a6",
    "paraphrase": "dd0e724d7d188057",
    "word_problems": "6dc3f1df52582f29",
    "metamath": "935cb28432812946",
    "gsm8k": "f4a8c377c40408ef",
}


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.mark.parametrize("task", PUBLISHED)
def test_rows_depend_on_the_seed_alone_and_are_the_published_ones(task):
    make, rows = getattr(text_tasks, task), {"train": 20, "validation": 10}
    assert hashlib.sha256(json.dumps(make(rows, 0)).encode()).hexdigest()[:16] == PUBLISHED[task]
    assert make(ROWS, 3) == make(ROWS, 3) != make(ROWS, 4)


def test_rows(task):
    splits = getattr(text_tasks, task)(ROWS, 0)
    assert {split: len(rows) for split, rows in splits.items()} == ROWS
    texts = [tuple(row[column] for column in TASKS[task]) for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)  # within a split and between two
    for row in splits["train"]:
        assert list(row) == [*TASKS[task], "label"]
        for column in TASKS[task]:
            text = row[column]
            assert text[0].isupper() or text[0].isdigit()
            assert text[-1] in ".?" and "  " not in text and len(text.split()) <= 20


def test_labels(task):
    counts = Counter(row["label"] for row in getattr(text_tasks, task)(ROWS, 0)["train"])
    assert counts == {0: 500, 1: 500}


def test_a_split_does_not_depend_on_a_later_one(task):
    make = getattr(text_tasks, task)
    assert make({"train": 50}, 0)["train"] == make({"train": 50, "validation": 50}, 0)["train"]


def test_more_rows_than_there_are(monkeypatch):
    monkeypatch.setattr(text_tasks.film_verdicts, "verdict", lambda rng, good: f"{good} {rng.randrange(5)}")
    with pytest.raises(JobError, match=r"distinct rows, found only \d+\. Lower `rows`"):
        text_tasks.sentiment({"train": 100}, 0)


def test_no_verdict_is_both():
    rng = random.Random(0)
    good, bad = ({text_tasks.film_verdicts.verdict(rng, tone) for _ in range(20_000)} for tone in (True, False))
    assert not good & bad


def test_an_edit_changes_the_meaning_and_only_its_slot():
    rng = random.Random(0)
    for _ in range(2000):
        event = paraphrase_scenes.scene(rng)
        slot = rng.choice(paraphrase_scenes.editable(event))
        edited = paraphrase_scenes.edit(rng, event, slot)
        changed = {name for name in vars(event) if getattr(event, name) != getattr(edited, name)}
        assert changed == ({"agent", "patient"} if slot == "roles" else {slot})


def test_vocabulary():
    for table, width in (
        (vocabulary.ACTORS, 2),
        (vocabulary.DEEDS, 3),
    ):
        assert {len(row) for row in table} == {width}
    for names in (
        vocabulary.GOOD,
        vocabulary.BAD,
        vocabulary.ASPECTS,
        vocabulary.SURE,
        vocabulary.UNSURE,
        [row[0] for row in vocabulary.ACTORS],
    ):
        assert len(set(names)) == len(names)
    assert not set(vocabulary.GOOD) & set(vocabulary.BAD) and not set(vocabulary.SURE) & set(vocabulary.UNSURE)
