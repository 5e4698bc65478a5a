"""Training on two ranks with DistributedDataParallel."""

import copy

import pytest
import torch
import torch.distributed as dist
from peft import get_peft_model_state_dict
from sidebyside import EXTENDED, adapt, close
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.nn.parallel import DistributedDataParallel
from trained_on_ranks import all_close, load_in_stock, mine, moved, problem, train

from two_ranks import on_two_ranks


def train_in_ddp(folder, config):
    model, x, y = problem(**config)
    ddp = DistributedDataParallel(model)
    grads = train(ddp, mine(x), mine(y), weight=0.01)
    if dist.get_rank() == 0:
        ddp.module.save_pretrained(folder)
        torch.save(ddp.state_dict(), folder / "ddp.pt")
    return {"grads": grads, "weights": get_peft_model_state_dict(model)}


@pytest.mark.slow
@pytest.mark.parametrize("config", [{}, {"apply_GS": True}, EXTENDED["both"]], ids=["chain", "infinite", "both sides"])
def test_ddp_trains_as_one_process_and_stock_PEFT_loads_the_adapter(tmp_path, config):
    model, x, y = problem(**config)
    start = copy.deepcopy(get_peft_model_state_dict(model))
    first, second = on_two_ranks(train_in_ddp, tmp_path, tmp_path, config)
    grads = train(model, x, y, weight=0.01)
    assert moved(get_peft_model_state_dict(model), start)
    for rank in (first, second):
        all_close(rank["grads"], grads)
        all_close(rank["weights"], get_peft_model_state_dict(model))
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name])
    if "two_sided" not in config:
        close(load_in_stock(tmp_path)(x), model(x), 168, c=32)  # as saved in DDP


class Alike(nn.Module):
    """Layers of one shape, whose factors are computed together; no pass uses all of them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))

    def forward(self, x):
        for layer in self.layers[:3]:
            x = torch.tanh(layer(x))
        return x


def alike_in_ddp(static):
    torch.manual_seed(0)
    model = adapt(Alike().double(), target_modules=["0", "1", "2", "3"])
    x, y = torch.randn(2, 8, 12).double()
    if static is not None:
        ddp = DistributedDataParallel(model, find_unused_parameters=True, static_graph=static)
        x, y = mine(x), mine(y)
    return {"grads": train(ddp if static is not None else model, x, y), "weights": get_peft_model_state_dict(model)}


@pytest.mark.parametrize("static", [False, True])
def test_ddp_trains_layers_that_are_computed_together_as_one_process(tmp_path, static):
    one = alike_in_ddp(None)
    for rank in on_two_ranks(alike_in_ddp, tmp_path, static):
        all_close(rank["weights"], one["weights"])
        used = {name: gradient for name, gradient in one["grads"].items() if gradient is not None}
        assert len(used) == 3
        all_close({name: rank["grads"][name] for name in used}, used)


def load_in_ddp(folder):
    model, x, _ = problem(seed=2)
    ddp = DistributedDataParallel(model)
    ddp.load_state_dict(torch.load(folder / "ddp.pt"))
    return ddp(x).detach()


def test_state_dict_of_ddp_loads_in_ddp_and_in_one_process(tmp_path):
    first, _ = on_two_ranks(train_in_ddp, tmp_path, tmp_path, {})
    (tmp_path / "loaded").mkdir()
    (tmp_path / "ddp.pt").rename(tmp_path / "loaded" / "ddp.pt")
    outputs = on_two_ranks(load_in_ddp, tmp_path / "loaded", tmp_path / "loaded")
    model, x, _ = problem(seed=2)
    state = torch.load(tmp_path / "loaded" / "ddp.pt")
    consume_prefix_in_state_dict_if_present(state, "module.")
    model.load_state_dict(state)
    for name, weight in get_peft_model_state_dict(model).items():
        assert torch.equal(weight, first["weights"][name])
    assert torch.equal(outputs[0], model(x)) and torch.equal(outputs[1], outputs[0])
