"""Models whose layers are computed together, and what is compared."""

import pytest
import torch
from sidebyside import adapt, close
from torch import nn
from torch.utils.checkpoint import checkpoint

from hra import chain


class Blocks(nn.Module):
    """Two kinds of layers in four blocks, one layer called twice, one unused, one convolution."""

    def __init__(self, checkpointing=None):
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.more = nn.Conv2d(8, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(8, 12), "down": nn.Linear(12, 8)}) for _ in range(4))
        self.shared = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 12)
        self.checkpointing = checkpointing

    def block(self, block, x):
        return x + block["down"](torch.tanh(block["up"](torch.tanh(self.shared(x)))))

    def forward(self, x):
        x = self.again(torch.tanh(self.more(torch.tanh(self.conv(x))))).movedim(1, -1)
        for block in self.blocks:
            if self.checkpointing is None:
                x = self.block(block, x)
            else:
                x = checkpoint(self.block, block, x, use_reentrant=self.checkpointing)
        return x


TARGETS = ["conv", "more", "again", "up", "down", "shared", "unused"]


def model(dtype=torch.float64, **config):
    torch.manual_seed(0)
    return adapt(Blocks().to(dtype), r=4, target_modules=TARGETS, **config)


def alone(function, *arguments):
    """Call it with every layer computing its own factors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "bank_of_this_pass", lambda: None)
        return function(*arguments)


def gradients(model, x, run=None):
    model.zero_grad()
    (model if run is None else run)(x).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def same(actual, expected, c=32, dtype=None):
    assert set(actual) == set(expected)
    for name, gradient in expected.items():
        assert (gradient is None) == (actual[name] is None), name
        if gradient is not None:
            close(actual[name], gradient, 72, c=c, dtype=dtype)


def trained(module):
    return [p for p in module.parameters() if p.requires_grad]
