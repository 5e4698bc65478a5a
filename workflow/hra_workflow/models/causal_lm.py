"""Causal language models: loading, tokens, training rows and a run's weights.

A response is tokenized as the continuation of its prompt, without the space that SentencePiece inserts before a
separate text.
"""

from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import pretrained
from hra_workflow.models.precision import dtype
from hra_workflow.models.pretrained import without_weights

IGNORED = -100  # label of tokens that are excluded from the loss
ANSWER = "answer"  # the value of `loss_on` with which only the response is learned


def load_tokenizer(folder: Path):
    """Load the tokenizer; if it has no padding token, use the end-of-text token, masked where it is padding."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, **gguf(folder))
    if tokenizer.eos_token is None:
        raise JobError(f"{folder}: expected a tokenizer with an end-of-text token (eos_token), found none. Add one.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def gguf(folder: Path) -> dict[str, str]:
    """Return the loading argument with the folder's .gguf file, if its model is in that format."""
    found = sorted(Path(folder).glob("*.gguf"))
    return {"gguf_file": found[0].name} if found else {}


def config_of(folder: Path):
    """Return the model's transformers config."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, **gguf(folder))


def end_tokens(folder: Path, tokenizer) -> list[int]:
    """Return the IDs of the tokens that end a text: the tokenizer's first, then those of the generation config."""
    from transformers import GenerationConfig

    if (Path(folder) / "generation_config.json").exists():
        stated = GenerationConfig.from_pretrained(folder).eos_token_id
    else:
        stated = GenerationConfig.from_model_config(config_of(folder)).eos_token_id
    listed = stated if isinstance(stated, list) else [stated]
    return list(dict.fromkeys([tokenizer.eos_token_id, *(token for token in listed if token is not None)]))


def load_model(
    folder: Path, precision: str, quantization: str | None = None, device: str = "cpu", weights: bool = True
):
    """Load the base model in `precision` (float32, bf16, fp16) on the CPU.

    If `quantization` is nf4, load it in 4 bits on `device` instead. Without `weights`, build it from its config (see
    `without_weights`).
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    extra = gguf(folder)
    if not weights:
        config = config_of(folder)
        return without_weights(lambda: AutoModelForCausalLM.from_config(config, dtype=dtype(precision)))
    if quantization == "nf4":  # QLoRA, arXiv 2305.14314
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype(precision),
        )
        # cuda is the GPU of this process (LOCAL_RANK); by default, every process takes GPU 0.
        extra["device_map"] = device
    with safe_checkpoints.named(folder):
        model = pretrained.load(AutoModelForCausalLM, folder, dtype=dtype(precision), weights_only=True, **extra)
    if "gguf_file" in extra:  # loaded into plain tensors, but the Trainer would reject the model as quantised
        model.is_quantized, model.hf_quantizer = False, None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    return model


def count_parameters(folder: Path) -> int:
    """Count the base model's parameters from its config, without loading its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(folder))
    return model.num_parameters()


def load_run(
    model_folder: Path,
    method: dict,
    weights: Path,
    precision: str,
    device: str,
    quantization: str | None = None,
    merge: bool = False,
):
    """Load the model of a run in evaluation mode on `device`; `weights` is RUN/last/adapter_model.safetensors.

    `merge` merges the adapter into the base weights: in float32 this only changes rounding, in bf16 every adapted
    weight is rounded to 8 bits.
    """
    from hra_workflow.models import adapters

    model = load_model(model_folder, precision, quantization, device)
    model = adapters.load(model, method, Path(weights).parent)
    if merge and hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    return (model if quantization else model.to(device)).eval()


def encode(text: str, tokenizer) -> list[int]:
    """Encode a prompt as token IDs, without the end-of-text token that some tokenizers append."""
    ids = tokenizer(text)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def encode_row(text: str, response: str, tokenizer) -> tuple[list[int], list[int]]:
    """Encode a prompt and, as its continuation, a response: the token IDs of both.

    If a token would span both, the response is encoded separately, since generation starts after the prompt.
    """
    asked, both = encode(text, tokenizer), encode(text + response, tokenizer)
    if both[: len(asked)] == asked:
        return asked, both[len(asked) :]
    return asked, tokenizer(response, add_special_tokens=False)["input_ids"]


def training_rows(folder: Path, split: str, prompt, max_length: int, loss_on: str = ANSWER):
    """Build a datasets.Dataset of `input_ids` and `labels` from a split, with the loss on the response only.

    prompt: a prompts.Prompt. A response that exceeds `max_length` is truncated; a row whose prompt fills it is dropped.
    With `loss_on` other than ANSWER, prompt and response are one text, which is tokenised and learned as a whole.
    """
    from datasets import Dataset
    from pyarrow import parquet

    def encoded(row: dict) -> dict:
        asked, said = prompt.row(row["question"], row["answer"], whole=loss_on != ANSWER)
        labels = [IGNORED] * len(asked) + said
        return {
            "input_ids": (asked + said)[:max_length],
            "labels": labels[:max_length],
            "asked": len(asked),
            "length": len(labels),
        }

    # In memory: a cache next to the data would need locks, which shared file systems do not always support.
    data = Dataset(parquet.read_table(folder / f"{split}.parquet", columns=["question", "answer"]))
    rows = data.map(encoded, remove_columns=["question", "answer"], keep_in_memory=True, load_from_cache_file=False)
    cut = sum(length > max_length for length in rows["length"])
    fitting = [index for index, asked in enumerate(rows["asked"]) if asked < max_length]
    if not fitting:
        raise JobError(f"{folder}: no question of {split} fits into max_length = {max_length} tokens. Raise it.")
    print(
        f"{split}: {len(rows)} rows; {cut} truncated to {max_length} tokens, "
        f"{len(rows) - len(fitting)} of them dropped because the question fills these"
    )
    return rows.select(fitting, keep_in_memory=True).remove_columns(["asked", "length"])
