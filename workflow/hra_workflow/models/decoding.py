"""Greedy decoding of many prompts: an answer that ends leaves the batch, and the next prompt takes its place.

transformers' `generate` keeps all rows until the last one ends, and copies the complete cache in every step. Here, the
cache of a fixed number of rows is allocated once. All rows end in the same column; a prompt that joins is prefilled
separately and copied to the columns before that one. Prompts join from long to short, so that there is always room.

transformers 5.24 gives the same answers to the demo's 300 problems (batch size 50, CPU), but more slowly: 4.6 s here,
6.2 s by `generate` with batches of similar prompts, 10 to 46 s by `generate_batch` (continuous batching), which has
no stop strings. With a batch of 128 and one answer in 100 that ends at the limit of 1024 tokens (simulated, mean 185),
`generate` takes four times as many steps.
"""

import inspect
from collections import deque
from collections.abc import Callable, Iterator

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from hra_workflow.models import memory

FREE = 0.85  # fraction of the free memory for the cache; the rest is for prefilling
PREFILLED = 4096  # tokens at a time
JOINING = 8  # rows join when one in eight is free, since prefilling a few takes as long as a step


class Rows(DynamicLayer):
    """The keys and values of one layer: views of tensors (rows, heads, capacity, size) that are allocated once."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, rows: int, capacity: int):
        super().__init__()
        self.allocated = [one.new_zeros(rows, one.shape[1], capacity, one.shape[3]) for one in (keys, values)]
        self.is_initialized = True
        self.show(0)

    def show(self, length: int) -> None:
        self.length = length
        self.keys, self.values = (one[:, :, :length] for one in self.allocated)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__):
        first, self.length = self.length, self.length + key_states.shape[2]
        for one, new in zip(self.allocated, (key_states, value_states), strict=True):
            one[:, :, first : self.length] = new
        self.show(self.length)
        return self.keys, self.values


class Batch:
    """The rows that are decoded together. `end`: the column after the last token of every row."""

    def __init__(self, model, rows: int, capacity: int):
        self.model, self.capacity, self.end = model, capacity, 0
        self.accepted = inspect.signature(model.forward).parameters
        self.cache = None
        device = next(model.parameters()).device
        self.mask = torch.zeros(rows, capacity, dtype=torch.bool, device=device)
        self.last, self.position, self.taken = (torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, position: torch.Tensor, cache) -> torch.Tensor:
        """Return the most likely next tokens (rows,)."""
        keywords = {cache_keyword(self.accepted): cache}
        if "logits_to_keep" in self.accepted:
            keywords["logits_to_keep"] = 1
        found = self.model(input_ids=ids, attention_mask=mask, position_ids=position, use_cache=True, **keywords)
        return found.logits[:, -1].argmax(-1)

    @torch.inference_mode()
    def join(self, places: list[int], prompts: list[list[int]]) -> list[int]:
        """Prefill prompts, put them into free rows, and return the first token of each answer."""
        width = max(map(len, prompts))
        if not self.taken.any():
            self.end = width
        ids, mask = (torch.zeros(len(prompts), width, dtype=torch.long) for _ in range(2))
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = torch.tensor(prompt), 1
        ids, mask = ids.to(self.mask.device), mask.to(self.mask.device)
        position, prefilled = (mask.cumsum(1) - 1).clamp(min=0), DynamicCache()
        tokens = self.forward(ids, mask, position, prefilled)
        if self.cache is None:
            self.cache = DynamicCache()
            rows, capacity = self.mask.shape
            self.cache.layers = [Rows(one.keys, one.values, rows, capacity) for one in prefilled.layers]
        columns = slice(self.end - width, self.end)
        where = torch.tensor(places, device=self.mask.device)
        for layer, new in zip(self.cache.layers, prefilled.layers, strict=True):
            layer.show(self.end)
            for one, states in zip(layer.allocated, (new.keys, new.values), strict=True):
                one[where, :, columns] = states
        self.mask[where] = False
        self.mask[where, columns] = mask.bool()
        self.last[where], self.position[where], self.taken[where] = tokens, mask.sum(1), 1
        return tokens.tolist()

    @torch.inference_mode()
    def leave(self, places: list[int]) -> None:
        """Free rows. They are decoded as padding until another prompt takes them."""
        where = torch.tensor(places, device=self.mask.device)
        self.mask[where] = False
        self.last[where] = self.position[where] = self.taken[where] = 0

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Decode one token per row."""
        self.mask[:, self.end] = True
        self.end += 1
        self.last = self.forward(self.last[:, None], self.mask[:, : self.end], self.position[:, None], self.cache)
        self.position += self.taken
        return self.last.tolist()

    @torch.inference_mode()
    def drop_columns(self, count: int) -> None:
        """Remove the first columns, which rows no longer use."""
        kept = self.end - count
        for layer in self.cache.layers:
            for one in layer.allocated:
                one[:, :, :kept] = one[:, :, count : self.end].clone()
            layer.show(kept)
        self.mask[:, :kept] = self.mask[:, count : self.end].clone()
        self.mask[:, kept:] = False
        self.end = kept

    @torch.inference_mode()
    def keep_rows(self, places: list[int]) -> None:
        """Remove all rows but these."""
        where = torch.tensor(places, device=self.mask.device)
        for layer in self.cache.layers:
            layer.allocated = [one[where] for one in layer.allocated]
            layer.show(self.end)
        self.mask, self.last, self.position, self.taken = (
            one[where] for one in (self.mask, self.last, self.position, self.taken)
        )


def greedy(
    model, prompts: list[list[int]], limit: int, rows: int, ended: Callable[[list[int]], bool]
) -> Iterator[tuple[int, list[int]]]:
    """Yield (index of a prompt, its new tokens) whenever an answer ends.

    `limit`: the maximum number of new tokens. `rows`: the maximum number of answers at a time. `ended`: function that
    returns whether new tokens end an answer.
    """
    waiting = deque(sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index)))
    rows = min(rows, len(prompts))
    batch = Batch(model, rows, max(map(len, prompts), default=0) + limit)
    answers: list[tuple[int, list[int]] | None] = [None] * rows  # in every row: the prompt's index, new tokens

    def finished(places: list[int], tokens: list[int]) -> Iterator[tuple[int, list[int]]]:
        left = []
        for place, token in zip(places, tokens, strict=True):
            index, new = answers[place]
            new.append(token)
            if len(new) == limit or ended(new):
                answers[place] = None
                left.append(place)
                yield index, new
        if left:
            batch.leave(left)

    while waiting or any(answers):
        free = [place for place, answer in enumerate(answers) if answer is None]
        while waiting and len(free) >= max(1, rows // JOINING):
            count = max(1, min(len(free), len(waiting), PREFILLED // len(prompts[waiting[0]])))
            places, free = free[:count], free[count:]
            for place in places:
                answers[place] = (waiting.popleft(), [])
            yield from finished(places, batch.join(places, [prompts[answers[place][0]] for place in places]))
        taken = [place for place, answer in enumerate(answers) if answer]
        if not waiting and taken and 2 * len(taken) <= len(answers):
            batch.keep_rows(taken)
            answers = [answers[place] for place in taken]
            taken = list(range(len(taken)))
        if taken:
            used = max(len(prompts[index]) + len(new) - 1 for index, new in filter(None, answers))
            unused = batch.end - used
            if batch.end == batch.capacity or unused > batch.end // 4:
                batch.drop_columns(unused)
            tokens = batch.step()
            yield from finished(taken, [tokens[place] for place in taken])


def fitting_rows(model, capacity: int) -> tuple[int, str]:
    """Return the number of rows of `capacity` tokens that fit into the free memory, and the reason as a text."""
    device = next(model.parameters()).device
    cache, one = DynamicCache(), torch.ones(1, 1, dtype=torch.long, device=device)
    with torch.inference_mode():
        Batch(model, 1, 1).forward(one, one, one - 1, cache)
    bytes_per_token = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    free = memory.free_bytes(device.type)
    text = f"{capacity} tokens of {bytes_per_token / 2**10:.4g} KiB, {free / 2**30:.3g} GiB free"
    return max(1, int(FREE * free / (bytes_per_token * capacity))), text


def cache_keyword(accepted) -> str | None:
    """Return the name of forward's argument for the cache, which depends on transformers' version."""
    return next((name for name in ("cache", "past_key_values") if name in accepted), None)


def is_supported(model) -> bool:
    """Return whether a model's only state is a cache of keys and values, and `position_ids` gives the positions."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    accepted = inspect.signature(model.forward).parameters
    known = kinds <= {"full_attention", "sliding_attention"} and not model._is_stateful
    return known and bool(cache_keyword(accepted)) and "position_ids" in accepted
