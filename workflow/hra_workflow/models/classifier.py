"""Tokenization of GLUE-format data for a classifier, and its order in evaluation."""

from pathlib import Path


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
