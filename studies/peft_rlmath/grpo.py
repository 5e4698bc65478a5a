"""Reinforcement learning of a causal language model by rewards for sampled answers: GRPO, with TRL's trainer.

A generation is a set of answers to a few questions, on which several steps may be trained. A run is resumed only where
a generation ends: TRL's checkpoints do not contain answers.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.math import answers
from hra_workflow.training.hf_trainer import Resumable
from hra_workflow.training.learner import Learner
from studies.peft_rlmath import task


def arguments(values: dict, vllm: dict | None, prompt) -> dict:
    """Return the arguments of hf_trainer.training_arguments for the trainer.

    values: arguments of TRL. vllm: those of vLLM, on the same GPU; None: transformers. prompt: a prompts.Prompt.
    """
    return values | {
        "kind": GRPOConfig,
        "remove_unused_columns": False,
        "shuffle_dataset": False,  # `questions` has the order of all steps
        "chat_template_kwargs": prompt.arguments if prompt.chat else None,
        **({"use_vllm": True, "vllm_mode": "colocate"} if vllm else {}),
        **{f"vllm_{name}": value for name, value in (vllm or {}).items()},
    }


def questions(folder: Path, prompt, settings: dict, seed: int, gold: Callable[[str], str]) -> Dataset:
    """Return the rows of all steps, in the order of TRL's sampler: `prompt`, and `reference`, the answer.

    prompt: a prompts.Prompt. gold: solution -> its final answer; ValueError if it has none. A question is dropped if it
    has no answer, or leaves less than `max_completion_length` of `max_length` tokens.
    """
    from pyarrow import parquet

    table = parquet.read_table(folder / "train.parquet", columns=["question", "answer"]).to_pylist()
    room = settings["max_length"] - settings["max_completion_length"]
    fitting, unanswered = [], 0
    for row in table:
        text = prompt.text(row["question"])
        try:
            reference = gold(row["answer"])
        except ValueError:
            unanswered += 1
            continue
        if len(ids := prompt.ids(text)) > room:
            continue
        if not prompt.chat and prompt.tokenizer(text)["input_ids"] != ids:
            raise JobError(
                "`reward`: expected a tokenizer that ends no prompt with the end-of-text token, which TRL would pass "
                "to the model. Set add_eos_token: false in its tokenizer_config.json."
            )
        asked = [{"role": "user", "content": prompt.around.replace("{question}", row["question"])}]
        fitting.append({"prompt": asked if prompt.chat else text, "reference": reference})
    if unanswered == len(table):
        raise JobError(
            f"{folder}: expected final answers in the rows of train, found none in {unanswered} rows. Correct `answer` "
            "of the dataset, the style of its answers."
        )
    if not fitting:
        raise JobError(
            f"{folder}: no question of train fits into max_length - max_completion_length = {room} tokens. Raise "
            "max_length."
        )
    print(f"train: {len(table)} rows, {len(table) - len(fitting)} of them dropped: too long, or without an answer")
    # One epoch: TRL's sampler draws the order of a later one from a state that is in no checkpoint.
    asked, generator = questions_per_generation(settings), torch.Generator().manual_seed(seed)
    needed = asked * -(-settings["max_steps"] * settings["batch_size"] // answers_per_generation(settings))
    order: list[int] = []
    while len(order) < needed:
        epoch = torch.randperm(len(fitting), generator=generator).tolist()
        order += epoch[: len(epoch) // asked * asked]  # whole generations
        if len(epoch) < asked:
            raise JobError(f"{folder}: expected at least {asked} questions for a generation, found {len(epoch)}.")
    return Dataset.from_list([fitting[index] for index in order[:needed]])


def questions_per_generation(settings: dict) -> int:
    return settings["generation_batch_size"] // settings["num_generations"]


def answers_per_generation(settings: dict) -> int:
    """Return the number of answers that a generation contributes to the steps, each once per iteration."""
    return settings["generation_batch_size"] * settings["num_iterations"]


def rewards(right: Callable[[str, str], bool], tokenizer) -> Callable[..., list[float]]:
    """Return TRL's reward function: 1 for a correct output, else 0. right: (output, reference) -> whether it is."""

    def reward(completion_ids: list[list[int]], reference: list[str], **_) -> list[float]:
        texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        return [float(right(*pair)) for pair in zip(texts, reference, strict=True)]

    return reward


class ResumableGRPOTrainer(Resumable, GRPOTrainer):
    """TRL's trainer, whose KL divergence is from the base model, as if TRL had inserted the adapter itself."""

    packages = ("trl",)

    def __init__(self, *, method: dict, settings: dict, **keywords):
        super().__init__(method=method, settings=settings, **keywords)
        self.restart_every = task.period(settings)
        # TRL adds a copy of the initial adapter as the reference. That is the base model, which needs no copy, unless
        # the initialisation (PiSSA) has moved a part of its weights into the adapter.
        moved = isinstance((method["peft"] or {}).get("init_lora_weights"), str)
        if "ref" in getattr(self.model, "peft_config", {}) and not moved:
            self.model.delete_adapter("ref")

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return self.penalised(model, loss)


class RewardLearner(Learner):
    """Learn from rewards for sampled answers."""

    logged = ("loss", "reward")  # the latter at the first step of a generation

    def arguments(self) -> dict:
        values = {name: self.settings[name] for name in task.VALUES}
        return arguments(values, self.settings.get("vllm"), self.prompt)

    def rows(self, folder: Path, seed: int) -> Dataset:
        return questions(folder, self.prompt, self.settings, seed, partial(answers.gold, self.settings["answer"]))

    def trainer(self, held, **common) -> ResumableGRPOTrainer:
        common["model"].generation_config.eos_token_id = self.prompt.ends
        right = partial(task.is_right, self.settings["reward"], self.settings["answer"])
        tokenizer = self.prompt.tokenizer
        return ResumableGRPOTrainer(processing_class=tokenizer, reward_funcs=rewards(right, tokenizer), **common)
