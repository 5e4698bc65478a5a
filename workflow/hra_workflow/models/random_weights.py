"""Models with random weights from a transformers config, used in tests as the `generator` of a source."""

from pathlib import Path

from hra_workflow.core.errors import JobError


def transformers_model(
    folder: Path, model_type: str, config: dict | None = None, seed: int = 0, causal_lm: bool = False
) -> None:
    """Write a model with random weights, and a byte-level tokenizer that needs no vocabulary file.

    `config`: keys of the config of transformers' `model_type`; `causal_lm`: adds a language-model head and tokenizer.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **{"pad_token_id": 0, **(config or {})})
    tokenizer = byte_tokenizer(config, causal_lm)
    if config.vocab_size < len(tokenizer):
        raise JobError(
            f"vocab_size: expected at least {len(tokenizer)}, the byte tokenizer's, found {config.vocab_size}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (AutoModelForCausalLM if causal_lm else AutoModel).from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer(config, causal_lm: bool = False):
    """Build a byte-level tokenizer, with BERT's special tokens (0 to 4) and pair format unless for a language model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special["mask_token"] = "[MASK]"
    alphabet = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {token: index for index, token in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if causal_lm:
        ends = {"pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * bool(getattr(config, "type_vocab_size", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=getattr(config, "max_position_embeddings", 512),
        model_input_names=inputs,
        **special,
    )
