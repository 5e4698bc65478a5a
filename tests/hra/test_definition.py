"""W' = W H: outputs, gradients and merges as by explicit matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sidebyside import adapt, adapted_weight, call, close, layer
from torch import nn
from torch.autograd import gradcheck, gradgradcheck


def tensors(ours, name="default"):
    """Return an adapter's parameters."""
    return [p for key, p in ours.named_parameters() if "hra_" in key and key.endswith(name)]


def check(ours, x, c=64):
    """Compare outputs, gradients and merged weights of a layer with the definition."""
    base = ours.get_base_layer()
    n = ours.n + len(base.weight)
    for parameter in base.parameters():
        parameter.requires_grad_(True)
    trained = [*tensors(ours), *base.parameters()]
    z, expected = ours(x), call(base, x, adapted_weight(ours))
    close(z, expected, n, c)
    g = torch.randn_like(z)
    gradients = [torch.autograd.grad((one * g).sum(), (x, *trained)) for one in (z, expected)]
    for found, other in zip(*gradients, strict=True):
        close(found, other, n, c)
    base.requires_grad_(False)  # a frozen weight may take another way, also an input without gradient
    us = tensors(ours)
    for needed, expected_gradients in (([x, *us], gradients[1]), (us, gradients[1][1:])):
        z = ours(x if needed[0] is x else x.detach())
        close(z, expected, n, c)
        found = torch.autograd.grad((z * g).sum(), needed)
        for one, other in zip(found, expected_gradients[: len(needed)], strict=True):
            close(one, other, n, c)
    with torch.no_grad():
        close(ours(x), expected, n, c)
    before, W = base.weight.clone(), adapted_weight(ours)
    ours.merge()
    close(base.weight, W, n, c)
    close(ours(x), expected, n, c)
    ours.enable_adapters(False)
    close(ours(x), call(base, x, before), n, 4 * c)
    ours.unmerge()
    close(base.weight, before, n, 4 * c)
    ours.enable_adapters(True)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(2, 3), (300,)]),
)
def test_a_linear_layer_of_any_shape_is_the_definition(n, out, r, bias, apply_GS, rows):
    torch.manual_seed(0)
    ours = layer(nn.Linear(n, out, bias=bias, dtype=torch.float64), r=r, apply_GS=apply_GS)
    u = ours.hra_u["default"]  # not almost dependent, which makes gradients inexact
    nn.init.orthogonal_(u).data.add_(0.2 * torch.randn_like(u))
    check(ours, torch.randn(*rows, n, dtype=torch.float64, requires_grad=True), c=512)


GEOMETRIES = [
    ((2, 3), {}),
    (3, {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 1), "bias": False}),
    (1, {"padding": 1, "padding_mode": "circular"}),
    ((2, 3), {"padding": "same", "padding_mode": "reflect"}),
    (3, {"padding": 1, "groups": 2}),
    ((2, 1), {"groups": 4, "stride": 2, "bias": False}),
    ((2, 4), {"padding": "valid", "padding_mode": "replicate"}),
]


@pytest.mark.parametrize(("kernel", "options"), GEOMETRIES)
@pytest.mark.parametrize("layout", ["batch", "channels last", "one image", "hooked"])
def test_a_convolution_is_the_definition(kernel, options, layout):
    base = nn.Conv2d(4, 8, kernel, dtype=torch.float64, **options)
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    if layout == "channels last":
        base, x = (one.to(memory_format=torch.channels_last) for one in (base, x))
    if layout == "hooked":  # the base layer has to be called
        base.register_forward_hook(lambda module, inputs, output: None)
    check(layer(base, r=2), (x[0] if layout == "one image" else x).requires_grad_())
    assert layout != "channels last" or base.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("base", [nn.Linear(12, 8), nn.Conv2d(3, 8, 2), nn.Conv2d(4, 8, 2, groups=2)])
def test_the_only_layer_of_a_model_is_the_definition(base):
    """It computes H = I - U T Uᵀ without B; others of the same width are computed together."""
    model = adapt(nn.Sequential(base).double(), target_modules=["0"])
    ours, x = model.base_model.model[0], torch.randn((5, 12) if base.weight.dim() == 2 else (2, base.in_channels, 4, 5))
    z, expected = model(x.double()), call(ours.base_layer, x.double(), adapted_weight(ours))
    assert ours.chain.alone == "default"
    close(z, expected, 64)
    gradients = [torch.autograd.grad(one.square().sum(), tensors(ours)) for one in (z, expected)]
    for found, other in zip(*gradients, strict=True):
        close(found, other, 64)


# The start


@pytest.mark.parametrize(
    ("config", "deviation"),
    [
        ({}, (2 / (3 * 4)) ** 0.5),
        ({"init_scale": 0.02}, 4 * 0.02),
        ({"init_scale": 2}, 4 * 2),
    ],
)
def test_the_deviation_of_the_start_does_not_change_what_is_drawn(config, deviation):
    torch.manual_seed(3)
    ours = layer(nn.Linear(4000, 600), init_weights=True, **config)
    for u in tensors(ours):
        close(u.std() / deviation, torch.ones(()), 1, c=0.05 / torch.finfo(torch.float32).eps)
    torch.manual_seed(3)
    expected = nn.init.kaiming_uniform_(nn.Linear(4000, 600).weight.new_empty(4000, 2), a=5**0.5)
    close(ours.hra_u["default"][:, ::2] / deviation, expected / (2 / (3 * 4)) ** 0.5, 1)


# Derivatives


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("alone", ["", "default"], ids=["V and B", "U and T"])
@pytest.mark.parametrize(("rows", "hooked"), [(2, False), (300, False), (2, True)])
def test_first_and_second_derivatives(bias, alone, hooked, rows):
    ours = layer(nn.Linear(3, 4, bias=bias, dtype=torch.float64), r=2)
    ours.chain.alone = alone
    if hooked:
        ours.base_layer.register_forward_hook(lambda module, inputs, output: None)
    values = {name: p.detach() for name, p in ours.named_parameters() if not name.endswith("weight")}

    def output(x, *changed):
        return torch.func.functional_call(ours, dict(zip(values, changed, strict=True)), (x,))

    for needed in (False, True):
        x = torch.randn(rows, 3, dtype=torch.float64, requires_grad=needed)
        inputs = (x, *(value.clone().requires_grad_() for value in values.values()))
        assert gradcheck(output, inputs, fast_mode=True)
        assert gradgradcheck(output, inputs, fast_mode=True)


def test_no_more_than_the_input_and_r_numbers_are_kept_per_layer_and_row():
    sizes, rows = {}, 50

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    model = adapt(nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 7)), target_modules=["0", "1"])
    x = torch.randn(rows, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        z = model(x)
    of_rows = sum(size for size in sizes.values() if size % rows == 0)
    assert of_rows == rows * (12 + 12 + 2 * 4) and z.grad_fn.name() == "_LinearBackward"
