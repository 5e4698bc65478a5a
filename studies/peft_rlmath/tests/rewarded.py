"""Settings of a tiny run that learns from rewards, and its jobs."""

from studies.peft_rlmath import task
from sums import MathRun

REWARDED = {  # in addition, and without epochs, for training by rewards
    "max_steps": 4,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "schedule": "constant",
    "warmup_steps": 0,
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


class RewardedRun(MathRun):
    GIVEN = MathRun.GIVEN | {"learner": task.RewardedMath.learner}


def right_by_chance(reward: str, style: str, output: str, gold: str) -> bool:
    return sum(map(ord, output)) % 2 == 0
