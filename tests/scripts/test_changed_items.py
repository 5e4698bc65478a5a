"""How much two predictions for an item differ, and the settings of a comparison, by task."""

import json

import numpy as np
import pytest

from hra_workflow import tasks


def test_the_change_of_an_item_of_each_task():
    table = tasks.classes()
    answers = [
        {"output": text, "strict": {"right": right}, "gold": "5"} for text, right in (("a b", True), ("a c", False))
    ]
    assert (
        table["math"].change(*answers, "strict") == 1.5 and table["math"].change(answers[0], answers[0], "strict") == 0
    )
    text = {"item": 0, "loss": 2.0, "tokens": 8}
    assert table["math"].change(text, text | {"loss": 2.5}, "loss") == 0.5
    assert table["math"].per_item([text], "last", "loss", {}) is None
    assert table["glue"].change({"last": [0.0, 0.0]}, {"last": [0.0, np.log(3)]}, "") == pytest.approx(0.25)
    assert table["glue"].change({"last": [1.5]}, {"last": [4.0]}, "") == 2.5  # a regression
    scored = {"key": "step00010-prompt00-0", "prompt_index": 0, "index": 0, "prompt": "a dog", "dino": 0.5}
    blocked = scored | {"key": "step00020-prompt00-0", "dino": None}
    assert "key" not in table["subject"].identity and {"index"} < {*table["subject"].identity} < scored.keys()
    assert table["subject"].change(scored, blocked, "dino") == float("inf")
    assert table["subject"].change(blocked, blocked, "dino") == 0


@pytest.mark.parametrize(
    ("task", "recorded", "settings"),
    [
        ("subject", {"evaluation": {"best_by": ["dino"], "evaluators": []}}, {"best_by": ["dino"]}),
        ("control", {"evaluators": [{"name": "fid", "kind": "fid"}]}, {"of_run": ["fid"]}),
        ("control", {}, {"of_run": []}),
        ("glue", {"dataset": {}}, {}),
    ],
)
def test_settings_of_a_comparison_are_read_from_the_record(task, recorded, settings):
    assert tasks.classes()[task].recorded_comparison(json.loads(json.dumps(recorded))) == settings
