"""The number of tokens that a model reads at a time, and the error for longer inputs."""

import math

from hra_workflow.core.errors import JobError


def limit(config, tokenizer=None) -> float:
    """Return the maximum tokens of an input, from a model's config and tokenizer; infinity for relative positions."""
    text = config.get_text_config()
    if not getattr(text, "position_biased_input", True):  # DeBERTaV3
        return math.inf
    # RoBERTa's first positions are reserved, which only its tokenizer's limit shows.
    stated = [getattr(text, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    return min((value for value in stated if value), default=math.inf)


def check(config, tokenizer, length: int, model: str) -> None:
    """Raise JobError if `length` tokens are more than a model reads at a time."""
    most = limit(config, tokenizer)
    if length > most:
        raise JobError(
            f"max_length: expected at most {most} tokens for {model}, found {length}. Lower it in the preset."
        )
