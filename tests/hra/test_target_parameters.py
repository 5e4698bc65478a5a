"""Which parameters a config names, which stacked experts it leaves out, and what is refused."""

import copy
import warnings

import pytest
import torch
from accelerate import cpu_offload
from moe import KINDS, NAMES, adapted, built
from peft import HRAConfig, get_peft_model
from sidebyside import llama
from torch import nn
from torch.nn.utils import parametrize

import hra


def test_files_without_target_parameters_are_those_of_peft(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    options = {"r": 4, "target_modules": ["q_proj"]}
    hra.HRAConfig(**options).save_pretrained(ours)
    HRAConfig(**options).save_pretrained(theirs)
    assert (ours / "adapter_config.json").read_text() == (theirs / "adapter_config.json").read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", ["all-linear", ["q_proj", "gate_proj", "up_proj", "down_proj"]])
def test_experts_that_are_left_out_are_named(kind, wanted):
    base = built(kind)
    fraction = sum(p.numel() for p in base.model.layers[0].mlp.experts.parameters() if p.dim() == 3)
    fraction /= sum(p.numel() for p in base.parameters())
    with pytest.warns(
        UserWarning, match=rf"2 parameters with {fraction:.0%} of its weights.*{sorted(NAMES)}".replace("[", r"\[")
    ):
        get_peft_model(copy.deepcopy(base), HRAConfig(r=4, target_modules=wanted))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("mixtral", {"target_modules": ["q_proj"]}),
        ("mixtral", {"target_modules": "all-linear", "target_parameters": NAMES}),
        ("llama", {"target_modules": "all-linear"}),
    ],
)
def test_nothing_is_said_of_experts_that_were_not_asked_for(kind, config):
    base = llama() if kind == "llama" else copy.deepcopy(built(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        get_peft_model(base, hra.HRAConfig(r=4, **config))


@pytest.fixture
def tokens():
    return torch.randint(0, 50, (2, 7))


class Experts(nn.Module):
    def __init__(self, *shapes, dtype=torch.float32):
        super().__init__()
        for name, shape in zip(("gate_up_proj", "down_proj"), shapes, strict=False):
            setattr(self, name, nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False))


def computed():
    module = Experts((2, 4, 6))
    parametrize.register_parametrization(module, "gate_up_proj", nn.Identity())
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Experts((2, 4, 6)), r"found Experts without it and gate_up_proj of shape \(2, 4, 6\)\. Set `is_transposed`"),
        (Experts((2, 4, 6), dtype=torch.uint8), r"found torch\.uint8 of shape"),
        (Experts((2, 4, 6, 6)), r"found torch\.float32 of shape \(2, 4, 6, 6\)"),
        (computed(), r"found one that is computed\. Load the base model without"),
    ],
)
def test_parameters_that_cannot_be_adapted_are_refused(module, message):
    model = nn.ModuleDict({"experts": copy.deepcopy(module)})
    with pytest.raises((TypeError, ValueError), match=rf"HRA cannot adapt experts\.gate_up_proj: .*{message}"):
        get_peft_model(model, hra.HRAConfig(r=2, target_modules=[], target_parameters=["experts.gate_up_proj"]))


@pytest.mark.parametrize(("shapes", "widths"), [([(2, 6, 5), (2, 5, 3)], (5, 3)), ([(2, 5, 6), (2, 3, 5)], (5, 3))])
def test_the_orientation_follows_from_the_shapes_of_both_projections(shapes, widths):
    model = nn.ModuleDict({"experts": Experts(*shapes)})
    model = get_peft_model(model, hra.HRAConfig(r=2, target_modules=[], target_parameters=NAMES))
    outer = model.base_model.model["experts"]
    assert (outer.base_layer.n, outer.n) == widths


def test_offloaded_experts_are_refused(tokens):
    model = adapted(built("mixtral"))
    cpu_offload(model, execution_device="cpu")
    for use in (lambda: model(tokens), model.merge_adapter, lambda: hra.to_lora(model)):
        with pytest.raises(TypeError, match=r"HRA on .*_proj: expected a parameter in this process' memory"):
            use()


def test_wrong_configs_are_refused(tokens):
    mixtral = built("mixtral")
    with pytest.raises(TypeError, match="expected `target_parameters` to be a list of names, found 'experts'"):
        hra.HRAConfig(target_parameters="experts")
    with pytest.raises(ValueError, match="`layers_to_transform` does not select among `target_parameters`"):
        hra.HRAConfig(target_parameters=NAMES, target_modules=["q_proj"], layers_to_transform=[0])
    with pytest.raises(ValueError, match=r"none for 'up'\. Stacked experts of this model: experts\.gate_up_proj, exp"):
        adapted(mixtral, target_parameters=["up", NAMES[0]])
    model = adapted(mixtral)
    with pytest.raises(ValueError, match="expected all adapters of a model to have the same `target_parameters`"):
        model.add_adapter("b", hra.HRAConfig(target_modules=[], target_parameters=NAMES[:1]))
    with pytest.raises(ValueError, match=r"HRA on .*down_proj: expected one adapter for all samples"):
        model(tokens, adapter_names=["default", "__base__"])
