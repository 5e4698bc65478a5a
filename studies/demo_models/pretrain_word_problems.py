"""Train the demo's language model, a small LLaMA with its tokenizer, from scratch on synthetic word problems."""

from pathlib import Path

from hra_workflow.core.job import script
from hra_workflow.models import causal_lm
from studies.demo_models.word_problems import word_problems

SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


@script
def main(job: dict) -> None:
    from transformers import (
        DataCollatorForSeq2Seq,
        LlamaConfig,
        LlamaForCausalLM,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    params, folder = job["params"], Path(job["output"]["weights"]).parent
    rows = word_problems({"train": params["rows"]}, params["seed"])["train"]
    texts = [f"{row['question']}\n{row['answer']}" for row in rows]
    tokenizer = train_tokenizer(texts, params["vocabulary"], params["model"]["max_position_embeddings"])
    set_seed(params["seed"])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in SPECIAL_TOKENS},
        **params["model"],
    )
    trainer = Trainer(
        LlamaForCausalLM(config),
        TrainingArguments(
            folder,
            seed=params["seed"],
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            train_sampling_strategy="group_by_length",
            **params["training"],
        ),
        train_dataset=[encode(row, tokenizer) for row in rows],
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=causal_lm.IGNORED),
    )
    trainer.train()
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encode(row: dict, tokenizer) -> dict[str, list[int]]:
    """Encode a row without a loss on the question, whose random numbers cannot be learned."""
    asked = tokenizer(f"{row['question']}\n")["input_ids"]
    said = tokenizer(f"{row['answer']}{tokenizer.eos_token}", add_special_tokens=False)["input_ids"]
    return {"input_ids": asked + said, "labels": [causal_lm.IGNORED] * len(asked) + said}


def train_tokenizer(texts: list[str], vocabulary: int, longest: int):
    """Train a byte-level BPE tokenizer with single-digit tokens, which encodes any text losslessly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = SPECIAL_TOKENS["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
        **SPECIAL_TOKENS,
    )


if __name__ == "__main__":
    main()
