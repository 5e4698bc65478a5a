"""Learning of a causal language model: from the answers of the data, unless a task's class names another learner."""

from pathlib import Path

from transformers import DataCollatorForSeq2Seq

from hra_workflow.models import causal_lm
from hra_workflow.training import hf_trainer


class Learner:
    """Learn the answers of the data, or their whole texts.

    settings: the hyper-parameters of a run. prompt: a prompts.Prompt. logged: entries of the Trainer's log for the
    curve, of which the last one is the score.
    """

    logged: tuple[str, ...] = ("loss",)

    def __init__(self, settings: dict, prompt):
        self.settings, self.prompt = settings, prompt

    def arguments(self) -> dict:
        """Return further arguments of hf_trainer.training_arguments."""
        return {}

    def rows(self, folder: Path, seed: int):
        """Return the rows of `folder` to train on, a datasets.Dataset."""
        learned = self.settings.get("loss_on", causal_lm.ANSWER)
        return causal_lm.training_rows(folder, "train", self.prompt, self.settings["max_length"], learned)

    def trainer(self, held, **common):
        """Return the Trainer, a hf_trainer.Resumable. held: the held-out rows, or None."""
        collator = DataCollatorForSeq2Seq(self.prompt.tokenizer, label_pad_token_id=causal_lm.IGNORED)
        return hf_trainer.ResumableTrainer(eval_dataset=held, data_collator=collator, mean_over_tokens=True, **common)
