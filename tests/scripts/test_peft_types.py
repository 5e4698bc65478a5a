"""Kind peft: every adapter type of the installed PEFT trains, resumes and reloads, or is refused with a reason."""

import copy

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import controlled
from hra_workflow import methods
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from hra_workflow.methods import peft_types
from hra_workflow.models import adapters
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from hra_workflow.training import checkpoints
from sums import TINY_LLAMA
from support import SMALL, TARGETS, TINY_MODEL, method, paper_config, put

ALL = {kind.value.lower(): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
REFUSED = sorted(peft_types.UNSUPPORTED)
OTHERS = sorted({*ALL} - {*REFUSED} - {*methods.METHODS})
REPRESENTATIVE = ("ln_tuning", "loha", "vera")  # norms, weights, tensors that layers share
IDS = torch.arange(24).reshape(2, 12)


def each(kinds: list[str]):
    """Test every type before a release, and a few at every commit."""
    own = (pytest.param(kind, marks=() if kind in REPRESENTATIVE else pytest.mark.full) for kind in kinds)
    return pytest.mark.parametrize("kind", own)


def spec(kind: str, targets: list[str], **changes) -> dict:
    return method(methods.PEFT, type=kind, peft=SMALL.get(kind, {}), targets=targets) | changes


class Tiny:
    """A tiny model of an architecture; `fresh` copies it with the head that a seed initialises."""

    def __init__(self, base, targets: list[str], head: list[str], inputs: dict):
        self.base, self.targets, self.head, self.inputs = base, targets, head, inputs

    def fresh(self):
        return copy.deepcopy(self.base)

    def output(self, model) -> torch.Tensor:
        found = model(**self.inputs)
        return found.logits if hasattr(found, "logits") else found.sample

    def started(self, chosen: dict, folder, seed: int):
        """Return the model at the initial adapter in `folder`, from a random state that must not matter."""
        torch.manual_seed(seed)
        return adapters.start_training(self.fresh(), chosen, self.head, folder, 5).train()

    def train(self, model, optimizer, steps: int) -> None:
        for _ in range(steps):
            self.output(model).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.fixture(scope="module")
def tiny_models() -> dict[str, Tiny]:
    """Return one for each of glue, math, and the UNet of subject and control, with a hint encoder."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.manual_seed(0)
    bert = AutoConfig.for_model("bert", **TINY_MODEL["config"], attention_probs_dropout_prob=0, hidden_dropout_prob=0)
    llama = AutoConfig.for_model("llama", **TINY_LLAMA["config"], use_cache=False)
    unet = control_model.load(controlled.MODEL, controlled.unet_method())
    noisy, times, context = controlled.inputs(1)
    of_unet = {"sample": noisy, "timestep": times, "encoder_hidden_states": context, "hint": controlled.hints(1)}
    text = {"input_ids": IDS}
    return {
        "classifier": Tiny(AutoModelForSequenceClassification.from_config(bert), TARGETS, ["classifier"], text),
        "causal_lm": Tiny(AutoModelForCausalLM.from_config(llama), ["q_proj", "down_proj"], [], text),
        "unet": Tiny(unet, ["to_q", "to_out.0"], [hint_encoder.NAME], of_unet),
    }


def optimiser(model) -> torch.optim.Optimizer:
    return torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2, weight_decay=0.0)


def trained_resumed_and_reloaded(tiny: Tiny, chosen: dict, folder) -> None:
    """One start; five steps, the same after a stop at the third; the same file content; the same outputs from it."""
    torch.manual_seed(1)
    adapters.save(adapters.insert(tiny.fresh(), chosen), folder / "start")
    run = tiny.started(chosen, folder / "start", 2)
    same = adapters.trained_state(tiny.started(chosen, folder / "start", 6))
    assert all(torch.equal(one, same[name]) for name, one in adapters.trained_state(run).items())
    first = tiny.output(run).detach()
    optimizer = optimiser(run)
    torch.manual_seed(3)
    tiny.train(run, optimizer, 3)
    checkpoints.save_trained(run, folder / "checkpoint")
    state, moments = torch.get_rng_state(), copy.deepcopy(optimizer.state_dict())
    tiny.train(run, optimizer, 2)
    resumed = tiny.started(chosen, folder / "start", 4)
    checkpoints.load_trained(resumed, folder / "checkpoint")
    optimizer = optimiser(resumed)
    optimizer.load_state_dict(moments)
    torch.set_rng_state(state)
    tiny.train(resumed, optimizer, 2)
    expected = tiny.output(run.eval()).detach()
    assert not torch.equal(first, expected)
    assert torch.equal(tiny.output(resumed.eval()), expected)
    adapters.save(run, folder / "last")
    torch.manual_seed(5)
    again = adapters.load(tiny.fresh(), chosen, folder / "last")
    # HRA's layers compute their factors together in training and each on its own where it is frozen, which may round
    # differently.
    torch.testing.assert_close(tiny.output(again), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@each(OTHERS)
@pytest.mark.parametrize("architecture", ["classifier", "causal_lm"])
def test_a_type_trains_resumes_and_reloads(tiny_models, tmp_path, architecture, kind):
    tiny = tiny_models[architecture]
    norms = {"classifier": ["LayerNorm"], "causal_lm": ["input_layernorm"]}[architecture]
    targets = tiny.targets if methods.of_type(kind).adapter.linear else norms
    trained_resumed_and_reloaded(tiny, spec(kind, targets), tmp_path)


@pytest.mark.slow
def test_a_type_trains_on_the_unet_and_is_served_as_trained(tiny_models, tmp_path):
    tiny = tiny_models["unet"]
    chosen = spec("loha", tiny.targets)
    trained_resumed_and_reloaded(tiny, chosen, tmp_path)
    reloaded = adapters.load(tiny.fresh(), chosen, tmp_path / "last")
    served = control_model.load_trained(controlled.MODEL, chosen, tmp_path / "last" / adapters.WEIGHTS).eval()
    with torch.no_grad():
        torch.testing.assert_close(tiny.output(served), tiny.output(reloaded), rtol=1e-3, atol=1e-4)


@each(OTHERS)
def test_what_cannot_be_merged_is_known(tiny_models, kind):
    tiny = tiny_models["causal_lm"]
    targets = tiny.targets if methods.of_type(kind).adapter.linear else ["input_layernorm"]
    adapted = adapters.insert(tiny.fresh(), spec(kind, targets)).eval()
    if not methods.of_type(kind).adapter.merges:
        with pytest.raises((NotImplementedError, ValueError)):
            adapted.merge_and_unload()
        return
    expected = tiny.output(adapted).detach()
    torch.testing.assert_close(tiny.output(adapted.merge_and_unload()), expected, rtol=1e-4, atol=1e-5)


def config_with(kind: str, task: str = "glue", peft: dict | None = None, **variant) -> dict:
    config = paper_config()
    variant = {"targets": "paper", "peft": SMALL.get(kind, {}) if peft is None else peft} | variant
    named = {"type": kind} if kind else {}
    config["methods"]["chosen"] = {"kind": methods.PEFT, "version": 1, "variants": {"v": variant}} | named
    block = config["tasks"][task]["grid"][0]
    config["tasks"][task]["grid"].append({"runs": ["chosen/v"], "datasets": block["datasets"], "seeds": [0]})
    return config


@pytest.mark.parametrize("kind", REFUSED)
def test_a_type_that_cannot_run_is_refused_with_a_reason(kind):
    with pytest.raises(JobError, match=rf"methods.chosen.type: type {kind} cannot run here: (its?|what) .*Use a type"):
        validation.check(config_with(kind))


@pytest.mark.parametrize(
    ("changes", "own", "message"),
    [
        ({"kind": "dora"}, {}, r"chosen.type: expected a type of the installed PEFT \(adalora, .*\), found 'dora'"),
        ({"kind": "LoHa"}, {}, r"found 'LoHa' \(is it 'loha'\?\)\. Correct the name"),
        ({"kind": "vera", "lambda": 0.1}, {}, "lambda is for kind hra, this is vera"),
        ({"kind": "pvera", "task": "subject"}, {}, r"chosen/v: expected a kind that subject can run .*found pvera"),
        ({"kind": "adalora", "peft": {"init_r": 4}}, {}, "kind adalora needs `budget`"),
        ({"kind": "oft", "peft": {"r": 4, "oft_block_size": 8}}, {}, "expected one of peft.r and peft.oft_block_size"),
        ({"kind": "vera"}, {"methods.chosen.kind": "lora"}, "methods.chosen: type is for kind peft, this is lora"),
        ({"kind": None}, {}, "methods.chosen: kind peft needs `type`, one of adalora, "),
        ({"kind": "lily", "task": "math"}, {"tasks.math.generation.serve": "merged"}, "lily cannot be merged, found m"),
        (
            {"kind": "loha", "task": "math"},
            {"tasks.math.generation.serve": "adapter", "tasks.math.defaults.quantization": "nf4"},
            "a kind for which PEFT has 4-bit layers, found loha",
        ),
    ],
)
def test_a_type_that_does_not_fit_is_an_error_before_the_first_job(changes, own, message):
    config = config_with(**changes)
    for place, value in own.items():
        put(config, place, value)
    with pytest.raises(JobError, match=message):
        validation.check(config)
