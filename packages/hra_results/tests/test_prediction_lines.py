"""How much two predictions for an item differ, what is shown of one, and the settings of a comparison."""

import json

import numpy as np
import pytest

from hra_results import prediction_lines
from hra_workflow import tasks

ANSWERS = [{"output": text, "strict": {"right": right}, "gold": "5"} for text, right in (("a b", True), ("a c", False))]
SCORED = {"key": "step00010-prompt00-0", "prompt_index": 0, "index": 0, "prompt": "a dog", "dino": 0.5}
BLOCKED = SCORED | {"key": "step00020-prompt00-0", "dino": None}


@pytest.mark.parametrize(
    ("first", "second", "score", "change"),
    [
        (*ANSWERS, "strict", 1.5),
        (ANSWERS[0], ANSWERS[0], "strict", 0),
        ({"loss": 2.0, "tokens": 8}, {"loss": 2.5, "tokens": 8}, "loss", 0.5),
        ({"last": [0.0, 0.0]}, {"last": [0.0, np.log(3)]}, "", pytest.approx(0.25)),
        ({"last": [1.5]}, {"last": [4.0]}, "", 2.5),  # a regression
        (SCORED, BLOCKED, "dino", float("inf")),
        (BLOCKED, BLOCKED, "dino", 0),
    ],
)
def test_the_change_of_an_item(first, second, score, change):
    assert prediction_lines.change(first, second, score) == change


def test_an_item_of_a_subject_is_that_of_all_steps():
    assert {"index"} < {*tasks.classes()["subject"].identity} < SCORED.keys() - {"key"}
    assert tasks.classes()["math"].per_item([{"loss": 2.0, "tokens": 8}], "last", "loss", {}) is None


@pytest.mark.parametrize(
    ("recorded", "settings"),
    [
        ({"evaluation": {"best_by": ["dino"], "evaluators": []}}, {"best_by": ["dino"], "of_run": []}),
        ({"evaluators": [{"name": "fid", "kind": "fid"}]}, {"best_by": [], "of_run": ["fid"]}),
        ({"dataset": {}}, {"best_by": [], "of_run": []}),
    ],
)
def test_settings_of_a_comparison_are_read_from_the_record(recorded, settings):
    assert prediction_lines.recorded_comparison(json.loads(json.dumps(recorded))) == settings
