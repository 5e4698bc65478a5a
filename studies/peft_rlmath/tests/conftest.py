"""Runs of a tiny language model that learns from rewards."""

import pytest
from rewarded import REWARDED, RewardedRun, right_by_chance

from rule_jobs import maker
from studies.peft_rlmath import task


@pytest.fixture
def make_rewarded_run(tmp_path, tiny_math, monkeypatch):
    """Provide make_rewarded_run(method, name, **settings), whose answers are right by chance."""
    monkeypatch.setattr(task, "is_right", right_by_chance)

    def made(method, name="run", **settings):
        run = maker(RewardedRun, tmp_path, tiny_math)(method, name, **REWARDED | settings)
        del run.settings["epochs"]
        return run

    return made
