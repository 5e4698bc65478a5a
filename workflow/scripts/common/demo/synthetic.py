"""Models and datasets made by our own code: sources of kind `init`."""

from pathlib import Path

from common.core.errors import JobError
from common.demo import tiny_diffusion


def make(source: dict, folder: Path, local_root: str = ".") -> None:
    """Write the files of a source: a dataset where it names a `generator`, else a model with random weights."""
    if "generator" in source:
        generate(source, folder, local_root)
    elif source.get("diffusion"):
        tiny_diffusion.write(source, folder)
    elif source.get("model_type") == "mmsegmentation":
        from common.evaluators import segmentation

        segmentation.initialise(source, folder)
    else:
        initialise(source, folder)


def generate(source: dict, folder: Path, local_root: str) -> None:
    """A task of text_tasks.py, one {split}.parquet per split; the images of a subject; scenes with control signals."""
    import pandas

    from common.demo import faces, scene_controls, subject_images, text_tasks

    if not source.get("rows"):
        raise JobError(f"generator {source['generator']}: state `rows`, e.g. {{train: 2000, validation: 400}}.")
    if source["generator"] in ("subjects", "controls"):
        {"subjects": subject_images, "controls": scene_controls}[source["generator"]].write(source, folder)
        return
    if source["generator"] == "annotated-faces":
        faces.write(source, folder, local_root)
        return
    splits = getattr(text_tasks, source["generator"])(source["rows"], source.get("seed", 0))
    for split, rows in splits.items():
        pandas.DataFrame(rows).to_parquet(folder / f"{split}.parquet", index=False)


def initialise(source: dict, folder: Path) -> None:
    """A model with random weights, and a tokenizer of bytes that needs no vocabulary file: for tests."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    if "model_type" not in source:
        raise JobError("source init: state `model_type` and `config` (a model) or `generator` and `rows` (a dataset).")
    config = AutoConfig.for_model(source["model_type"], **{"pad_token_id": 0, **source.get("config", {})})
    tokenizer = byte_tokenizer(config, source.get("causal_lm", False))
    if config.vocab_size < len(tokenizer):
        raise JobError(f"vocab_size {config.vocab_size} is too small: the byte tokenizer has {len(tokenizer)} tokens.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.get("seed", 0))
        model = (AutoModelForCausalLM if source.get("causal_lm") else AutoModel).from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer(config, causal_lm: bool = False):
    """One token per byte, BERT's special tokens (0 to 4) and BERT's form of a pair; none of it for a language model."""
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
