"""Text classifiers: an encoder with a randomly initialised head, the tokens of its inputs, and their order."""

from pathlib import Path
from typing import Any

from hra_workflow.data import safe_checkpoints
from hra_workflow.models import pretrained


def load_model(
    folder: str | Path, labels: list[str] | None, seed: int, dropout: float | None = None
) -> tuple[Any, list[str]]:
    """Load a float32 sequence classifier on a pretrained encoder; its head is randomly initialised with `seed`.

    `labels` names the classes; None means a regression with one output. Weights are read without unpickling code.
    Also return the modules of the head.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    config = AutoConfig.from_pretrained(folder)
    config.num_labels = len(labels) if labels else 1
    config.problem_type = "single_label_classification" if labels else "regression"
    if dropout is not None:
        config.classifier_dropout = config.cls_dropout = dropout  # BERT's name and DeBERTa's
    set_seed(seed)
    # Without a dtype, transformers uses the checkpoint's, and DeBERTaV3's is float16.
    options = {"config": config, "dtype": torch.float32, "weights_only": True, "output_loading_info": True}
    with safe_checkpoints.named(folder):
        model, found = pretrained.load(AutoModelForSequenceClassification, folder, **options)
    return model, head_of(model, found["missing_keys"])


def head_of(model, missing=()) -> list[str]:
    """Return the names of the modules of a classifier's head: those whose parameters the checkpoint lacks.

    missing: their names, as transformers reports them. If there are none, as in a checkpoint of a classifier, the head
    is all that is outside of the encoder.
    """
    every = [name for name, _ in model.named_parameters()]
    encoder = f"{model.base_model_prefix}."
    new = [name for name in every if name in missing] or [name for name in every if not name.startswith(encoder)]
    found, others = {}, set(every) - set(new)
    for parts in (name.split(".") for name in new):
        paths = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
        largest = next(path for path in paths if not any(other.startswith(f"{path}.") for other in others))
        found[largest.rpartition(".")[2]] = None
    return list(found)


def tokenized(folder: Path, split: str, columns: list[str], tokenizer, max_length: int):
    """Tokenize a split of a prepared dataset to a datasets.Dataset of `input_ids`, `attention_mask`, … and `labels`.

    One column is a sentence, two are a pair; inputs are truncated to `max_length` tokens and padded per batch.
    """
    from pyarrow import parquet

    table = parquet.read_table(folder / f"{split}.parquet")
    return encoded(table, columns, tokenizer, max_length).rename_column("label", "labels")


def encoded(table, columns: list[str], tokenizer, max_length: int):
    """Tokenize the text columns of a pyarrow.Table, and keep its other columns."""
    from datasets import Dataset

    def encode(rows):
        return tokenizer(*(rows[column] for column in columns), truncation=True, max_length=max_length)

    # In memory: a cache next to the data would need locks, which shared file systems do not always support.
    options = {"remove_columns": columns, "keep_in_memory": True, "load_from_cache_file": False}
    return Dataset(table).map(encode, batched=True, **options)


def by_length(data):
    """Return the row indices of tokenized data, longest first, so that batches of consecutive rows need little padding.

    It is a NumPy array; `result[order] = rows` restores the order of the data.
    """
    import numpy as np

    return np.argsort([-len(row) for row in data["input_ids"]], kind="stable")


def load_tokenizer(folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
