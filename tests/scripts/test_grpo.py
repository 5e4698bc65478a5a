"""Reinforcement learning: rewarded answers are sampled, and a run that was interrupted ends with the same bytes."""

import pytest

from hra_workflow.core import files
from rule_jobs import train
from saved_states import check_same, stop_after
from sums import answers, math_method

REWARDED = {
    "max_steps": 4,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "schedule": "constant",
    "warmup_steps": 0,
    "learning_rate": 1e-2,
    "group_by_length": False,
    "reward": "lenient",
    "answer": "metamath",
    "num_generations": 4,
    "generation_batch_size": 4,
    "max_completion_length": 8,
    "temperature": 1.0,
    "top_p": 0.95,
    "top_k": 20,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "beta": 0.001,
    "epsilon": 0.2,
    "num_iterations": 1,
    "loss_type": "grpo",
    "scale_rewards": "group",
    "importance_sampling_level": "token",
    "mask_truncated_completions": False,
}


@pytest.fixture
def make_rewarded_run(make_math_run):
    def made(method, name="run", **settings):
        run = make_math_run(method, name, **REWARDED | settings)
        del run.settings["epochs"]
        return run

    return made


@pytest.mark.parametrize("kind", ["hra", "lora"])
def test_a_run_resumes_where_a_generation_ends(make_rewarded_run, kind, monkeypatch):
    import train_math
    from hra_workflow.tasks.math import rewards

    monkeypatch.setattr(rewards, "is_right", lambda reward, style, output, gold: len(output) % 2 == 0)
    whole, run = (make_rewarded_run(math_method(kind), name) for name in ("whole", "run"))
    fresh = train(whole)
    stop_after(2, lambda: train_math.main(run.train))
    record = train(run)
    assert (record["attempts"], record["resumed_from"]) == (2, [2])
    check_same(record | {"attempts": 1, "resumed_from": []}, run.weights, fresh, whole.weights)
    print(record["curve"])
    answers(run)
