"""Convolutions whose base layer does more than its class says; test_definition.py has those of every geometry."""

import pytest
import torch
from modified import COMPUTED, OBSERVERS
from sidebyside import close, layer
from torch import nn

from hra.reflections import compact, reflect


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("adapter_names", [None, ["default", "__base__"]])
@pytest.mark.parametrize("modify", [*OBSERVERS, *COMPUTED])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_convolution_whose_base_was_modified(modify, mode, adapter_names):
    """The base layer's own call, hooks included, with the rotated weight."""
    base, x = nn.Conv2d(3, 5, 3, padding=1, padding_mode=mode), torch.randn(2, 3, 7, 8)
    modify(base)
    ours = layer(base).eval()
    for _ in range(2):  # the second time with other weights
        z = ours(x.requires_grad_(adapter_names is None), adapter_names=adapter_names)
        z.sum().backward()
        expected, plain = nn.Conv2d(3, 5, 3, padding=1, padding_mode=mode).eval(), base(x)
        V, B = compact(ours.hra_u["default"].detach())
        with torch.no_grad():
            expected.weight.copy_(reflect(base.weight.flatten(1), B, V).view(base.weight.shape))
            expected.bias.copy_(base.bias)
        if modify in OBSERVERS:
            modify(expected)
        close(z[0], expected(x)[0], 27)
        close(z[1], (expected(x) if adapter_names is None else plain)[1], 27)
        with torch.no_grad():
            close(ours(x), expected(x), 27)
            for weight in base.parameters():
                weight.normal_()


def test_convolution_with_a_weight_that_every_call_in_training_changes():
    ours, x = layer(nn.utils.spectral_norm(nn.Conv2d(3, 5, 3))), torch.randn(2, 3, 7, 8)
    V, B = compact(ours.hra_u["default"])
    before, z, weight = ours.base_layer.weight, ours(x), ours.base_layer.weight
    assert not torch.allclose(weight, before)
    close(z, nn.functional.conv2d(x, reflect(weight.flatten(1), B, V).view(5, 3, 3, 3), ours.base_layer.bias), 27)


def test_convolution_with_a_weight_that_every_access_changes():
    class Growing(nn.Module):
        count = 0

        def forward(self, weight):
            self.count += 1
            return self.count * weight

    base, x = nn.Conv2d(3, 5, 3, bias=False), torch.randn(2, 3, 7, 8)
    weight = base.weight
    ours = layer(nn.utils.parametrize.register_parametrization(base, "weight", Growing()))
    V, B = compact(ours.hra_u["default"])
    expected = nn.functional.conv2d(x, reflect(weight.flatten(1), B, V).view(5, 3, 3, 3))
    z = ours(x)
    close(z / z.norm(), expected / expected.norm(), 27)


def test_convolution_with_another_forward_is_refused_if_its_weight_is_out_of_sight():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return nn.functional.conv2d(x, self.weight.flatten(1)[..., None, None], self.bias)

    with pytest.raises(TypeError, match=r"0: expected a call of Standardised to be one convolution .*found 0.*exclude"):
        layer(Standardised(3, 5, 3))(torch.randn(1, 27, 2, 2))
