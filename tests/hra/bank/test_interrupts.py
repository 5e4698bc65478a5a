"""No forward pass uses what an interrupted one has computed."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from blocks import alone, gradients, model, same, trained
from sidebyside import adapt
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
def test_no_forward_pass_uses_the_bank_of_an_interrupted_one(ours, x, error, kept):
    gradients(ours, x)
    Interrupt(ours.get_base_model().blocks[2]["down"], error)
    with pytest.raises(error) as caught:
        ours(x)
    if not kept:
        del caught
        assert bank.current() is None
    for _ in range(2):
        fused_step(trained(ours))
        same(gradients(ours, x), alone(gradients, ours, x))


@pytest.mark.parametrize("error", ENDS)
def test_nor_does_a_part_of_the_model_even_if_the_traceback_is_kept(ours, x, error):
    inner = ours.get_base_model()
    features = torch.randn(3, 8, dtype=torch.float64)
    Interrupt(ours.get_base_model().blocks[2]["down"], error)
    with pytest.raises(error) as caught:
        ours(x)

    def run(x):
        return inner.block(inner.blocks[0], x)

    for _ in range(3):
        same(gradients(ours, features, run), alone(gradients, ours, features, run))
        fused_step(trained(ours))
    assert caught


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


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x, labels):
        return {"loss": (self.second(torch.tanh(self.first(x))) - labels).square().mean()}


def test_the_trainer_goes_on_learning_after_an_interrupt(tmp_path):
    """The losses of a training whose first attempt was ended by Ctrl-C are those of a fresh one."""
    from transformers import Trainer, TrainingArguments

    data = [{"x": torch.randn(6), "labels": torch.randn(6)} for _ in range(4)]
    where = {"output_dir": str(tmp_path), "save_strategy": "no", "report_to": [], "use_cpu": True, "disable_tqdm": True}
    options = TrainingArguments(
        max_steps=4, per_device_train_batch_size=4, learning_rate=0.05, logging_steps=1, weight_decay=0, **where
    )
    assert "fused" in options.optim
    losses = []
    for error in (None, KeyboardInterrupt):
        torch.manual_seed(0)
        ours = adapt(Regression(), target_modules=["first", "second"])
        trainer = Trainer(ours, options, train_dataset=data)
        if error is not None:
            Interrupt(ours.get_base_model().second.get_base_layer(), error)
            with pytest.raises(error) as caught:  # and its traceback is kept, as in a notebook
                trainer.train()
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[1] == pytest.approx(losses[0]) and caught
    assert losses[0] == sorted(set(losses[0]), reverse=True) and len(losses[0]) == 4
