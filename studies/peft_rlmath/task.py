"""The task math with training by rewards for sampled answers (GRPO): its hyper-parameters and the checks of the config.

A config names the class as `tasks.math.class: studies.peft_rlmath.task:RewardedMath`; keys.py has its keys.
"""

import math

from hra_workflow import methods
from hra_workflow.core import imports
from hra_workflow.core.errors import expect
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.math.graders import GRADERS, Grader
from hra_workflow.tasks.math.task import Math
from studies.peft_rlmath.grader import BOXED

VALUES = (  # hyper-parameters with the names of TRL's arguments
    "num_generations",
    "generation_batch_size",
    "max_completion_length",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "beta",
    "epsilon",
    "num_iterations",
    "loss_type",
    "scale_rewards",
    "importance_sampling_level",
    "mask_truncated_completions",
)


def find_grader(name: str, key: str = "reward") -> Grader:
    """Return the grader of a `reward`, which may also be `boxed`."""
    return imports.find(GRADERS | {"boxed": BOXED}, Grader, name, key)


def check(task: Task, run: str, values: dict) -> None:
    """Raise JobError if `method/variant` cannot be trained by rewards."""
    key = f"config: tasks.{task.name}: {run}"
    find_grader(values["reward"], f"{key}: reward")
    micro_batch = values["batch_size"] // values["gradient_accumulation"]
    sizes = values["num_generations"], values["generation_batch_size"]
    length, limit = values["max_completion_length"], values["max_length"]
    for possible, problem in (
        ("max_steps" in values, "`reward` needs max_steps instead of epochs. Set the number of optimiser steps"),
        (
            length < limit,
            f"max_completion_length leaves no room for a question in max_length: found {length} of {limit}. Raise "
            "max_length",
        ),
        (
            sizes[1] % sizes[0] == 0,
            f"expected a generation_batch_size that is a multiple of num_generations = {sizes[0]}, found {sizes[1]}. "
            "Correct it",
        ),
        (
            sizes[1] % micro_batch == 0,
            f"expected a generation_batch_size that is a multiple of the {micro_batch} rows of a micro-batch, found "
            f"{sizes[1]}. Correct it",
        ),
        (
            not tuned_runs.is_tuned(task, run),
            "trials compare losses, which `reward` does not lower. Remove it from tune.runs, or set tune: null",
        ),
        (not values.get("quantization"), "`reward` needs a base model that is not quantised. Set quantization: null"),
        (values.get("loss_on") != "text", "`reward` learns from sampled answers only. Remove loss_on: text"),
        (
            not values.get("vllm") or task.settings["resources"].get("gpu", 1),
            "`vllm` samples on the GPU of the training, which has none. Set vllm: null, or resources.gpu: 1",
        ),
    ):
        expect(possible, f"{key}: {problem}")


def period(values: dict) -> int:
    """Return the number of steps after which a generation of answers ends with a step."""
    answers = values["generation_batch_size"] * values["num_iterations"]
    return math.lcm(answers, values["batch_size"]) // values["batch_size"]


def is_right(reward: str, style: str, output: str, gold: str) -> bool:
    """Return whether the grader `reward` accepts an output; one that exceeds its limits is wrong."""
    readings, right = find_grader(reward).functions()
    try:
        return any(right(style, reading, gold) for reading in readings(style, output))
    except TimeoutError:
        return False


class RewardedMath(Math):
    keys = "studies.peft_rlmath.keys"
    required = (*Math.required, "reward", *VALUES)
    learner = "studies.peft_rlmath.grpo:RewardLearner"

    def relevant_hyperparameters(self, dataset: str, run: str) -> dict:
        """Add what the rewards depend on: the grader and the marks of answers."""
        values = super().relevant_hyperparameters(dataset, run)
        if not values:  # of a run that trains nothing
            return {}
        version, answer = find_grader(values["reward"]).version, self.datasets[dataset]["answer"]
        return values | {"reward_version": version, "answer": answer}

    def period(self, values: dict) -> int:
        return period(values)

    def check_runs(self) -> None:
        for run in self.runs():
            name = f"{run['method']}/{run['variant']}"
            if methods.trains(self.config, name):
                check(self, name, self.hyperparameters(run["dataset"], name))
        super().check_runs()
