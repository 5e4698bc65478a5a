"""No forward pass uses what an interrupted one has computed."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from blocks import alone, gradients, model, same, trained
from torch import nn

from hra import bank

ENDS = [KeyboardInterrupt, SystemExit, GeneratorExit, RuntimeError]  # a hook of PyTorch's sees the last one only


class Interrupt:
    """Raises the error in the next call of a module, and forgets it."""

    def __init__(self, module, error):
        self.error = error
        module.register_forward_pre_hook(self)

    def __call__(self, *_):
        error, self.error = self.error, None
        if error is not None:
            raise error


def fused_step(us):
    """Change parameters without raising their version counters, as the Trainer's default optimizer does."""
    torch.optim.AdamW([u for u in us if u.grad is not None], lr=0.1, fused=True).step()


@pytest.mark.parametrize("kept", [False, True], ids=["", "traceback kept"])  # as in a notebook
@pytest.mark.parametrize("error", ENDS)
def test_no_forward_pass_of_a_model_or_a_part_uses_the_bank_of_an_interrupted_one(ours, x, error, kept):
    inner, features = ours.get_base_model(), torch.randn(3, 8, dtype=torch.float64)
    gradients(ours, x)
    Interrupt(inner.blocks[2]["down"], error)
    with pytest.raises(error) as caught:
        ours(x)
    if not kept:
        del caught
        assert bank.current() is None
    for _ in range(2):
        for inputs, run in ((features, lambda features: inner.block(inner.blocks[0], features)), (x, None)):
            fused_step(trained(ours))
            same(gradients(ours, inputs, run), alone(gradients, ours, inputs, run))


def interrupted(x, place):
    """Interrupt a pass of a model there, and return a weak reference to one of its layers."""
    ours = model()
    layer = ours.get_base_model().blocks[2]["down"]
    outer = nn.Sequential(nn.Identity(), ours)
    bank.attach(outer)
    interrupt = Interrupt(nn.Module() if place == "backward" else layer, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        with torch.set_grad_enabled(place != "without gradients"):
            y = (outer if place == "inner model" else ours)(x)
        layer.hra_u["default"].register_hook(interrupt)
        y.sum().backward()
    assert bank.current() is None
    return weakref.ref(layer)


@pytest.mark.parametrize("place", ["forward", "without gradients", "inner model", "backward", "thread"])
def test_an_interrupted_model_is_freed(x, place):
    gc.freeze()  # so that only what comes now is searched
    with ThreadPoolExecutor(1) as pool:
        layer = pool.submit(interrupted, x, place).result() if place == "thread" else interrupted(x, place)
        gc.collect()
        assert layer() is None
    gc.unfreeze()


def test_keywords_of_a_forward_pass_are_those_of_the_caller(ours, x):
    """Also where a hook collects them, and copies them or writes them to a file."""
    seen = []
    ours.get_base_model().register_forward_hook(lambda *call: seen.append(call[2]), with_kwargs=True)
    ours(x=x)
    for keywords in (*seen, copy.deepcopy(*seen), pickle.loads(pickle.dumps(*seen))):
        assert torch.equal(keywords.pop("x"), x) and not keywords
    assert type(copy.copy(*seen)) is dict and bank.current() is None
