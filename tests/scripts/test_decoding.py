"""Decoding in a batch that answers join and leave, also after virtual tokens: answers are those of prompts alone."""

import copy
import random

import pytest
import torch
from safetensors.torch import load_file
from snakemake.utils import update_config
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    StoppingCriteriaList,
)

from hra_workflow import methods
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, context, decoding, served_tokens
from rule_jobs import train
from sums import answers, said
from support import deberta_config, method, paper_config

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


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2"])
def test_every_answer_is_that_of_its_prompt_alone(kind):
    model, asked = built(kind), prompts()
    expected = {index: alone(model, prompt) for index, prompt in enumerate(asked)}
    lengths = set(map(len, expected.values()))
    assert len(lengths) > 4 and LIMIT in lengths
    for rows in (1, 5, 8, 100):
        found = list(decoding.greedy(model, asked, LIMIT, rows, ended))
        assert len(found) == len(asked) and dict(found) == expected, rows


@pytest.mark.parametrize("kind", ["llama", "qwen3"])  # two of four heads have keys; of 16 numbers instead of 32 / 4
def test_the_cache_is_as_large_as_it_is_said_to_be(monkeypatch, kind):
    model = built(kind)
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


TOKENS = 6
SAMPLED = {"prompt_tuning_init": "SAMPLE_VOCAB"}
TYPES = {"prompt_tuning": SAMPLED, "p_tuning": {"encoder_hidden_size": 16}, "prefix_tuning": {}}


def spec(kind: str) -> dict:
    return method(methods.PEFT, type=kind, peft={"num_virtual_tokens": TOKENS} | TYPES[kind], targets=None)


def adapted(kind: str, model: str):
    """Insert virtual tokens, far from those at the start, into a language model."""
    torch.manual_seed(1)
    found = adapters.insert(built(model), spec(kind)).double().eval()
    found.prompt_encoder.requires_grad_(False).apply(
        lambda module: module.weight.normal_() if hasattr(module, "weight") else None
    )
    return found


def alone_of_peft(model, prompt: list[int]) -> list[int]:
    """Answer greedily with a whole forward pass of the PEFT model in every step."""
    new = []
    while not new or (len(new) < LIMIT and not ended(new)):
        ids = torch.tensor([prompt + new])
        with torch.inference_mode():
            new.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].argmax().item())
    return new


@pytest.mark.parametrize(("kind", "model"), [*((kind, "llama") for kind in TYPES), ("prefix_tuning", "gpt2")])
def test_answers_in_a_batch_are_those_of_peft_s_forward_pass(kind, model):
    asked, tuned = prompts()[:12], adapted(kind, model)
    expected = {index: alone_of_peft(tuned, prompt) for index, prompt in enumerate(asked)}
    base = {index: alone_of_peft(tuned.get_base_model(), prompt) for index, prompt in enumerate(asked)}
    assert sum(expected[index] != base[index] for index in base) > 6
    served, virtual, prefix = served_tokens.served(tuned)
    asked = [virtual + prompt for prompt in asked]
    for rows in (1, 5):
        assert dict(decoding.greedy(served, asked, LIMIT, rows, ended, prefix)) == expected, rows


@pytest.mark.parametrize("model", ["mistral", "bloom"])
def test_a_model_that_cannot_keep_a_prefix_is_refused_before_training(model):
    with pytest.raises(JobError, match=r"prefix_tuning: expected a model with a cache of the keys and values of all"):
        adapters.insert(built(model), spec("prefix_tuning"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prefix_tuning", pytest.param("prompt_tuning", marks=pytest.mark.full)])
def test_a_language_model_trains_and_its_stored_tokens_answer(make_math_run, monkeypatch, kind):
    run = make_math_run(spec(kind), epochs=3, learning_rate=0.1)
    losses = [entry["metrics"]["loss"] for entry in train(run)["curve"]]
    assert sum(losses[-4:]) < sum(losses[:4]) - 0.05
    assert list(load_file(run.weights["last"])) == ["prompt_embeddings"]
    found = said(answers(run))
    assert found == said(answers(run, batch_size=1))
    monkeypatch.setattr(served_tokens, "served", lambda model: (model.get_base_model(), [], ()))
    assert said(answers(run)) != found


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_a_classifier_reads_the_tokens_then_the_pair(kind):
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 16}
    config = deberta_config(**sizes) if kind == "deberta" else AutoConfig.for_model("bert", **sizes)
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_config(config).eval()
    tuned = adapters.insert(copy.deepcopy(base), spec("prompt_tuning"), ["classifier"]).eval()
    ids, mask = torch.arange(20).reshape(2, 10), torch.tensor([[1] * 10, [1] * 7 + [0] * 3])
    second = {} if kind == "deberta" else {"token_type_ids": (torch.arange(10) > 4).long().expand(2, 10)}
    with torch.inference_mode():
        embedded = torch.cat([tuned.get_prompt(2), base.get_input_embeddings()(ids)], 1)
        seen = torch.nn.functional.pad(mask, (TOKENS, 0), value=1)
        types = {name: torch.nn.functional.pad(one, (TOKENS, 0)) for name, one in second.items()}
        expected = base(inputs_embeds=embedded, attention_mask=seen, **types)
        found = tuned(input_ids=ids, attention_mask=mask, **second)
    torch.testing.assert_close(found.logits, expected.logits)
    if kind == "deberta":
        context.check(config, None, TOKENS, 100, "relative positions only")


def test_tokens_beyond_the_positions_of_a_model_are_refused(make_run, make_math_run):
    with pytest.raises(JobError, match="at most 58 tokens for tiny, besides 6 virtual tokens, found 59"):
        train(make_run(spec("p_tuning"), max_length=59))
    with pytest.raises(JobError, match="at most 64 tokens for tiny, found 65"):
        train(make_run(method("hra"), max_length=65))
    run = make_math_run(spec("prefix_tuning"), "lm", max_length=123)
    with pytest.raises(JobError, match="at most 122 tokens for tiny, besides 6 virtual tokens, found 123"):
        train(run)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("p_tuning", {"retention": {"runs": ["base/pretrained", "virtual/v"]}}, "runs: virtual/v has virtual"),
        ("prefix_tuning", {"defaults": {"gradient_checkpointing": True}}, "virtual/v cannot be trained with gradient"),
    ],
)
def test_what_math_cannot_do_with_virtual_tokens_is_refused(kind, changes, message):
    config, variants = paper_config(), {"v": {"peft": {"num_virtual_tokens": TOKENS}}}
    config["methods"]["virtual"] = {"kind": methods.PEFT, "type": kind, "version": 1, "variants": variants}
    config["tasks"]["math"]["grid"].append({"runs": ["virtual/v"], "datasets": ["metamathqa-40k"], "seeds": [0]})
    validation.check(config)
    update_config(config["tasks"]["math"], changes)
    with pytest.raises(JobError, match=message):
        validation.check(config)
