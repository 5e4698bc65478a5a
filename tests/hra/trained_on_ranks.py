"""A small model to train on one or two ranks, and what is compared."""

import torch
import torch.distributed as dist
from peft import PeftModel
from sidebyside import Net, adapt, close

import hra
from hra.base_layer import HRALayer


def problem(**config):
    """Build an adapted model in float64, where rounding is far below any error, and a batch of even size."""
    torch.manual_seed(0)
    model = adapt(Net().double(), **config)
    return model, torch.randn(8, 3, 6, 7).double(), torch.randn(8, 5).double()


def mine(batch):
    return batch.chunk(2)[dist.get_rank()]


def train(model, x, y, weight=0.0):
    """Train three steps and return the trainable parameters' last gradients."""
    trainable = {name.removeprefix("module."): p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trainable.values(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        if weight:
            loss = loss + weight * hra.orthogonality_penalty(model)
        loss.backward()
        optimizer.step()
    return {name: p.grad for name, p in trainable.items()}


def all_close(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        close(actual[name], tensor, 168, c=32)


def load_in_stock(folder):
    base = problem()[0].unload()
    hra.uninstall()
    model = PeftModel.from_pretrained(base, folder)
    assert not any(isinstance(m, HRALayer) for m in model.modules())
    return model


def moved(trained, start):
    return all(not torch.allclose(trained[name], start[name], rtol=1e-3) for name in start)
