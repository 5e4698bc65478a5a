"""One adapted Linear layer: initialisation, dtypes, merging, and inputs that must be rejected."""

import copy

import pytest
import torch
from peft import HRAConfig, get_peft_model
from sidebyside import FORMS, close, layer
from torch import nn

import hra
from hra.base_layer import HRALayer

# Initialisation


def test_starts_at_the_base_model_with_the_columns_that_PEFT_would_draw():
    base, x = nn.Linear(16, 8), torch.randn(5, 16)
    torch.manual_seed(3)
    ours = layer(copy.deepcopy(base), init_weights=True)
    close(ours(x), base(x), 16)
    hra.uninstall()
    torch.manual_seed(3)
    theirs = layer(copy.deepcopy(base), init_weights=True)
    assert isinstance(ours, HRALayer) and not isinstance(theirs, HRALayer)
    assert torch.equal(ours.hra_u["default"], theirs.hra_u["default"])


def test_infinite_lambda_does_not_start_paired():
    merged = layer(nn.Linear(16, 8), r=7, init_weights=True, apply_GS=True)  # r may be odd
    assert torch.linalg.svdvals(merged.hra_u["default"].detach()).min() > 0.1
    weight = merged.weight.clone()
    merged.merge()
    assert not torch.allclose(merged.weight, weight)
    merged.unmerge()
    close(merged.weight, weight, 16)


@pytest.mark.parametrize(
    ("r", "apply_GS", "message"),
    [
        (7, False, r"r = 7: .*even r \(for example 8\).*init_weights=False"),
        (18, False, r"r = 18 on Linear\(in_features=16, .*r <= 16"),
        (18, True, r"r = 18 on Linear\(in_features=16, .*r <= 16"),
        *((r, False, "should be a positive integer value but") for r in (0, "four", 2.5, None)),
    ],
)
def test_a_wrong_r_is_an_error_that_says_what_to_do(r, apply_GS, message):
    with pytest.raises(ValueError, match=message):
        layer(nn.Linear(16, 8), r=r, init_weights=True, apply_GS=apply_GS)


def test_resetting_keeps_the_parameter():
    ours = layer(nn.Linear(16, 8))
    u = ours.hra_u["default"]
    ours.reset_hra_parameters("default")
    assert ours.hra_u["default"] is u
    assert torch.equal(u[:, 0::2], u[:, 1::2])


# Dtypes


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("base", [nn.Linear(64, 32), nn.Conv2d(4, 8, 4), nn.Conv2d(8, 8, 4, groups=2)])
def test_autocast_changes_no_more_than_it_does_to_the_frozen_layer(base, dtype, needed):
    x = torch.randn(9, 64).to(dtype) if isinstance(base, nn.Linear) else torch.randn(2, base.in_channels, 8, 8)
    start, ours = layer(copy.deepcopy(base), init_weights=True), layer(copy.deepcopy(base))
    x.requires_grad_(needed)
    exact = ours(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        y, frozen, z = start(x), base(x), ours(x)
        V, B = ours.get_factors(["default"])
        merged = copy.deepcopy(ours)
        merged.merge()
    assert y.dtype == z.dtype == frozen.dtype == torch.bfloat16 and V.dtype == B.dtype == torch.float32
    close(y, frozen, 1, c=2)
    close(z, exact, 8, dtype=torch.bfloat16)
    H = torch.eye(64) - B @ V.T
    close(H @ H.T, torch.eye(64), 64)
    close(merged(x.float()), exact, 64)  # merging does not use reduced precision
    us = [p for p in ours.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(one.float().square().sum(), us) for one in (z, exact)]
    for found, expected in zip(*gradients, strict=True):
        assert found.dtype == torch.float32
        close(found / expected.abs().max(), expected / expected.abs().max(), 16, dtype=torch.bfloat16)


def test_the_adapter_in_the_dtype_of_the_base_on_request():
    base, config = nn.Sequential(nn.Linear(12, 8).bfloat16()), HRAConfig(target_modules=["0"], r=4)
    model, x = get_peft_model(base, config, autocast_adapter_dtype=False), torch.randn(5, 12).bfloat16()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    close(model(x), model.base_model.model[0].base_layer(x), 1, c=4)  # r x r algebra still in float32


def test_parameters_that_peft_replaces_are_used_no_longer():
    """PEFT 0.21.2 casts an adapter to float32 by new parameters."""
    base, config = (
        nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 8)).bfloat16(),
        HRAConfig(r=4, target_modules=["0", "1"]),
    )
    model, x = get_peft_model(base, config, autocast_adapter_dtype=False), torch.randn(5, 12).bfloat16()
    with torch.no_grad():
        model(x)  # keeps the factors
    adapters = [one for one in model.modules() if isinstance(one, nn.ParameterDict) and "default" in one]
    old = [one["default"] for one in adapters]
    for one in adapters:
        one["default"] = nn.Parameter(torch.randn(one["default"].shape))
    with torch.no_grad():
        found = model(x)
    for one in adapters:  # as at the start of a process
        one["default"] = nn.Parameter(one["default"].detach().clone())
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(found, fresh(x))
    model(x).float().square().sum().backward()
    assert all(one["default"].grad is not None for one in adapters) and all(one.grad is None for one in old)


# A layer as an object


@pytest.mark.parametrize(
    ("base", "form"),
    [*((nn.Linear(16, 8), form) for form in FORMS.values()), (nn.Conv2d(4, 8, (1, 2)), {})],
)
def test_compiles_without_a_graph_break(base, form):
    torch._dynamo.reset()
    ours = layer(copy.deepcopy(base), **form)
    ours.update_layer("other", 2, HRAConfig(r=2, init_weights=False))
    ours.set_adapter(["default", "other"])
    x = torch.randn(5, 16) if isinstance(base, nn.Linear) else torch.randn(2, 4, 5, 6)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    gradients = []
    for module in (ours, compiled):
        ours.zero_grad()
        y = module(x)
        y.square().sum().backward()
        gradients.append((y, *[p.grad.clone() for p in ours.parameters() if p.requires_grad]))
    for eager, graph in zip(*gradients, strict=True):
        close(graph, eager, 64)


def test_narrow_adapter_does_not_narrow_the_merge_of_a_wider_weight():
    base = nn.Linear(16, 8).double()
    ours, x = layer(copy.deepcopy(base)), torch.randn(5, 16).double()
    ours.hra_u["default"] = ours.hra_u["default"].float()
    before, y = ours.weight.clone(), ours(x)
    ours.merge()
    close(ours(x), y, 16, dtype=torch.float32)
    ours.unmerge()
    close(ours.weight, before, 16, dtype=torch.float32)
    ours.hra_u["default"].data[:, 2:] = ours.hra_u["default"].data[:, :2].flip(1)  # H = I
    ours.merge(safe_merge=True)
    close(ours.weight, before, 16, c=0.1, dtype=torch.float32)
