"""Decoding in a batch that answers join and leave: answers are those of each prompt by itself."""

import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, StoppingCriteriaList

from hra_workflow.core.errors import JobError
from hra_workflow.models import decoding
from rule_jobs import train
from sums import math_method
from support import method

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"initializer_range": 0.4, "eos_token_id": 1, "bos_token_id": 2, "pad_token_id": 0}
MODELS = {
    "llama": {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 100},
    "mistral": {"intermediate_size": 48, "num_key_value_heads": 2, "sliding_window": 7},
    "qwen3": {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16},
    "gemma3_text": {"intermediate_size": 48, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 7}
    | {"sliding_window_pattern": 2, "tie_word_embeddings": False},
    "gpt2": {"n_positions": 60},  # learned positions: none beyond the longest answer
}
LIMIT = 24


def built(kind: str):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZES | MODELS.get(kind, {}))
    return AutoModelForCausalLM.from_config(config).eval().double()


def prompts() -> list[list[int]]:
    generator = random.Random(0)
    return [[generator.randrange(8, 60) for _ in range(generator.randrange(1, 30))] for _ in range(21)]


def ended(new: list[int]) -> bool:
    """End answers at random lengths."""
    return sum(new) % 11 == 0


def alone(model, prompt: list[int]) -> list[int]:
    ids, new = torch.tensor([prompt]), slice(len(prompt), None)
    settings = GenerationConfig(do_sample=False, max_new_tokens=LIMIT, eos_token_id=60, pad_token_id=0)
    stop = StoppingCriteriaList([lambda found, scores: torch.tensor([ended(found[0, new].tolist())])])
    with torch.inference_mode():
        mask = torch.ones_like(ids)
        found = model.generate(ids, attention_mask=mask, generation_config=settings, stopping_criteria=stop)
    return found[0, new].tolist()


@pytest.mark.parametrize("kind", ["gemma3_text", "gpt2"])
def test_every_answer_is_that_of_its_prompt_alone(kind):
    model, asked = built(kind), prompts()
    expected = {index: alone(model, prompt) for index, prompt in enumerate(asked)}
    lengths = set(map(len, expected.values()))
    assert len(lengths) > 4 and LIMIT in lengths
    for rows in (5, 100):
        found = list(decoding.greedy(model, asked, LIMIT, rows, ended))
        assert len(found) == len(asked) and dict(found) == expected, rows


def test_the_cache_is_as_large_as_it_is_said_to_be(monkeypatch):
    model = built("qwen3")  # two of four heads have keys; of 16 numbers instead of 32 / 4
    monkeypatch.setattr(decoding.memory, "free_bytes", lambda device: 1e6)
    rows, why = decoding.fitting_rows(model, 50)
    batch = decoding.Batch(model, rows, 50)
    batch.join([0], [[8, 9, 10]])
    size = sum(one.nbytes for layer in batch.cache.layers for one in layer.allocated)
    assert decoding.FREE * 1e6 * (rows - 1) / rows < size <= decoding.FREE * 1e6
    assert f"50 tokens of {size / rows / 50 / 1024:.4g} KiB" in why


def test_models_with_another_state_than_keys_and_values_are_recognised():
    assert all(decoding.is_supported(built(kind)) for kind in MODELS)
    assert not decoding.is_supported(built("bloom"))  # no position_ids
    mamba = AutoConfig.for_model("mamba", vocab_size=60, hidden_size=16, num_hidden_layers=1)
    assert not decoding.is_supported(AutoModelForCausalLM.from_config(mamba))


def test_tokens_beyond_the_positions_of_a_model_are_refused(make_run, make_math_run):
    with pytest.raises(JobError, match="at most 64 tokens for tiny, found 65"):
        train(make_run(method("hra"), max_length=65))
    run = make_math_run(math_method("hra"), "lm", max_length=129)
    with pytest.raises(JobError, match="at most 128 tokens for tiny, found 129"):
        train(run)
