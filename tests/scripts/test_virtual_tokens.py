"""Prompt tuning, P-tuning and prefix tuning: sizes, and answers that are those of PEFT's forward pass."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from snakemake.utils import update_config
from transformers import AutoConfig, AutoModelForSequenceClassification

import evaluate_glue
from hra_workflow import methods
from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, context, decoding, served_tokens, virtual_tokens
from rule_jobs import train
from saved_states import stop_after
from sums import answers, said
from support import deberta_config, method, paper_config
from test_decoding import LIMIT, built, ended, prompts

TOKENS = 6
TYPES = {
    "prompt_tuning": {"prompt_tuning_init": "SAMPLE_VOCAB"},
    "p_tuning": {"encoder_hidden_size": 16},
    "prefix_tuning": {},
}


def spec(kind: str, **peft) -> dict:
    peft = {"num_virtual_tokens": TOKENS} | TYPES[kind] | peft
    return method(methods.PEFT, type=kind, peft=peft, targets=None)


@pytest.fixture
def adapted():
    """Return a function that inserts virtual tokens, far from those at the start, into a language model."""

    def make(kind: str, model: str = "llama"):
        torch.manual_seed(1)
        found = adapters.insert(built(model), spec(kind)).double().eval()
        found.prompt_encoder.requires_grad_(False).apply(
            lambda module: module.weight.normal_() if hasattr(module, "weight") else None
        )
        return found

    return make


def alone(model, prompt: list[int]) -> list[int]:
    """Answer greedily with a whole forward pass of the PEFT model in every step."""
    new = []
    while not new or (len(new) < LIMIT and not ended(new)):
        ids = torch.tensor([prompt + new])
        with torch.inference_mode():
            new.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].argmax().item())
    return new


@pytest.mark.parametrize(("kind", "model"), [*((kind, "llama") for kind in TYPES), ("prefix_tuning", "gpt2")])
def test_answers_in_a_batch_are_those_of_peft_s_forward_pass(adapted, kind, model):
    asked, tuned = prompts()[:12], adapted(kind, model)
    expected = {index: alone(tuned, prompt) for index, prompt in enumerate(asked)}
    base = {index: alone(tuned.get_base_model(), prompt) for index, prompt in enumerate(asked)}
    assert sum(expected[index] != base[index] for index in base) > 6
    served, virtual, prefix = served_tokens.served(tuned)
    asked = [virtual + prompt for prompt in asked]
    for rows in (1, 5):
        assert dict(decoding.greedy(served, asked, LIMIT, rows, ended, prefix)) == expected, rows


@pytest.mark.parametrize("model", ["mistral", "bloom"])
def test_a_model_that_cannot_keep_a_prefix_is_refused_before_training(model):
    with pytest.raises(JobError, match=r"prefix_tuning: expected a model with a cache of the keys and values of all"):
        adapters.insert(built(model), spec("prefix_tuning"))


@pytest.mark.parametrize(
    ("kind", "peft", "parameters"),
    [  # of a model with width d = 32, L = 2 layers, and 2 heads of 8 keys and values: n tokens
        ("prompt_tuning", {}, lambda n, d: n * d),
        ("p_tuning", {"encoder_hidden_size": 24}, lambda n, d: n * d + (d + 1) * 24 + 25 * 24 + 25 * d),
        ("prefix_tuning", {}, lambda n, d: n * 2 * 2 * 16),
        (
            "prefix_tuning",
            {"prefix_projection": True, "encoder_hidden_size": 24},
            lambda n, d: n * 16 + 17 * 24 + 25 * 2 * 2 * 16,
        ),
    ],
)
def test_the_number_of_parameters(kind, peft, parameters):
    found = adapters.count(adapters.insert(built("llama"), spec(kind, **peft)), [])
    assert found["adapter_parameters"] == found["trainable_parameters"] == parameters(TOKENS, 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["prefix_tuning", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("prompt_tuning", "p_tuning"))]
)
def test_a_language_model_trains_resumes_and_its_stored_tokens_answer(make_math_run, kind):
    run = make_math_run(spec(kind), epochs=3, learning_rate=0.1)
    record = train(run)
    losses = [entry["metrics"]["loss"] for entry in record["curve"]]
    assert sum(losses[-4:]) < sum(losses[:4]) - 0.05
    assert list(load_file(run.weights["last"])) == ["prompt_embeddings"]
    stopped = make_math_run(spec(kind), "stopped", epochs=3, learning_rate=0.1)
    stop_after(13, lambda: train(stopped))
    assert train(stopped)["resumed_from"] == [13]
    assert Path(stopped.weights["last"]).read_bytes() == Path(run.weights["last"]).read_bytes()
    found = answers(run)
    assert said(found) == said(answers(run, batch_size=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served_tokens, "served", lambda model: (model.get_base_model(), [], ()))
        assert said(answers(run)) != said(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning"])
def test_a_classifier_trains_and_evaluates(make_run, kind):
    run = make_run(spec(kind), learning_rate=0.05)
    record, stored = train(run), load_file(run.weights["last"])
    start = load_file(Path(run.augment["output"]["manifest"]).parent / adapters.WEIGHTS)
    assert all(name.startswith(virtual_tokens.PREFIX) for name in start)
    assert record["adapter_parameters"] == sum(one.numel() for one in start.values())
    assert {name for name in stored if "classifier" not in name} == {"prompt_embeddings"}
    if kind == "prompt_tuning":
        assert not torch.equal(stored["prompt_embeddings"], start[f"{virtual_tokens.PREFIX}embedding.weight"])
    evaluate_glue.main(run.evaluate)
    metrics = files.read_json(run.evaluate["output"]["metrics"])["selections"]["last"]["metrics"]
    assert metrics["accuracy"]["value"] == record["curve"][-1]["metrics"]["accuracy"]


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


def virtual_config(kind: str) -> dict:
    config = paper_config()
    variants = {"v": {"peft": {"num_virtual_tokens": TOKENS}}}
    config["methods"]["virtual"] = {"kind": methods.PEFT, "type": kind, "version": 1, "variants": variants}
    config["tasks"]["math"]["grid"].append({"runs": ["virtual/v"], "datasets": ["metamathqa-40k"], "seeds": [0]})
    return config


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("p_tuning", {"generation": {"backend": "vllm"}}, "adapters of type p_tuning cannot be merged .*transformers`"),
        (
            "p_tuning",
            {"retention": {"runs": ["base/pretrained", "virtual/v"]}},
            "retention.runs: virtual/v has virtual",
        ),
        (
            "prefix_tuning",
            {"defaults": {"gradient_checkpointing": True}},
            "virtual/v cannot be trained with gradient c",
        ),
    ],
)
def test_what_math_cannot_do_with_virtual_tokens_is_refused(kind, changes, message):
    config = virtual_config(kind)
    validation.check(config)
    update_config(config["tasks"]["math"], changes)
    with pytest.raises(JobError, match=message):
        validation.check(config)
