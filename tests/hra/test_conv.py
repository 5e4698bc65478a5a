"""Conv2d is Linear on the unfolded input, for every geometry."""

import itertools

import pytest
import torch
from sidebyside import close, layer
from torch import nn

from hra.reflections import compact, reflect

GEOMETRIES = [
    *itertools.product([(1, 1), (3, 3), (2, 3)], [1, (2, 1)], [0, (1, 2)], [1, (2, 1)]),
    *itertools.product([(3, 3), (2, 3), (2, 4)], [1], ["same", "valid"], [1, (1, 2)]),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_convolution_is_a_linear_layer_on_patches(kernel, stride, padding, dilation, mode):
    base = nn.Conv2d(3, 5, kernel, stride, padding, dilation, padding_mode=mode, dtype=torch.float64)
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64, requires_grad=True)
    ours = layer(base, r=3)
    u = ours.hra_u["default"]
    assert u.shape == (3 * kernel[0] * kernel[1], 3)

    z = ours(x)
    # A base layer with one output channel per entry of the patch unfolds its own input.
    eye = torch.eye(len(u), dtype=torch.float64).view(len(u), 3, *kernel)
    patches = base._conv_forward(x, eye, None).movedim(1, -1)
    expected = nn.functional.linear(reflect(patches, *compact(u)), base.weight.flatten(1), base.bias).movedim(-1, 1)
    close(z, expected, 64)

    weights = torch.randn_like(z)
    actual = torch.autograd.grad((z * weights).sum(), (x, u))
    for gradient, other in zip(actual, torch.autograd.grad((expected * weights).sum(), (x, u)), strict=True):
        close(gradient, other, 64)

    before = base.weight.clone()
    ours.merge()
    close(ours(x), z, 64)
    ours.enable_adapters(False)
    close(ours(x), nn.Conv2d._conv_forward(base, x, before, base.bias), 64)
    ours.unmerge()
    close(base.weight, before, 64)


def test_one_image_without_a_batch():
    ours, x = layer(nn.Conv2d(3, 4, 3)), torch.randn(3, 6, 7)
    close(ours(x), ours(x[None])[0], 27)


def test_trainable_kernel_gets_its_gradient():
    base, x = nn.Conv2d(2, 3, (2, 3), dtype=torch.float64), torch.randn(1, 2, 4, 5).double()
    ours = layer(base, r=2)
    base.requires_grad_(True)

    def output(weight):
        return torch.func.functional_call(ours, {"base_layer.weight": weight}, (x,))

    assert torch.autograd.gradcheck(output, (base.weight.detach().requires_grad_(),))
