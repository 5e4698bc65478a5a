"""Generation with virtual tokens.

PEFT's `generate` is not used: it pads between the virtual tokens and a shorter prompt, and passes the cache under a
name that transformers no longer uses in `generate`. Here the answers equal those of PEFT's `forward` for each prompt by
itself.
"""

import torch

from hra_workflow.models.decoding import Prefix


class Vocabulary(torch.nn.Module):
    """The base model's embedding with the virtual tokens (count, width) as its last indices."""

    def __init__(self, embedding: torch.nn.Module, size: int, tokens: torch.Tensor):
        super().__init__()
        self.embedding, self.size = embedding, size
        self.register_buffer("tokens", tokens)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        virtual = ids >= self.size
        known = self.embedding(ids.masked_fill(virtual, 0))
        return torch.where(virtual[..., None], self.tokens[(ids - self.size).clamp(min=0)].to(known.dtype), known)


def served(adapted) -> tuple[torch.nn.Module, list[int], Prefix]:
    """Return the base model, the IDs that precede every prompt, and the keys and values that precede every cache."""
    base = adapted.get_base_model()
    with torch.inference_mode():
        tokens = adapted.get_prompt(1)
    if not isinstance(tokens, torch.Tensor):
        return base, [], [(layer.keys, layer.values) for layer in tokens.layers]
    size = base.get_input_embeddings().weight.shape[0]
    base.set_input_embeddings(Vocabulary(adapted.word_embeddings, size, tokens[0]))
    return base, list(range(size, size + len(tokens[0]))), ()
