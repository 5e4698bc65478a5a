"""Training the adapters of stacked experts on two ranks."""

import copy

import pytest
import torch
import torch.distributed as dist
from moe import adapted, built
from peft import get_peft_model_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel
from trained_on_ranks import all_close, mine, moved

from two_ranks import on_two_ranks


def problem():
    base = copy.deepcopy(built("mixtral")).double()
    torch.manual_seed(0)
    base.set_experts_implementation("eager")
    return adapted(base), torch.randint(0, 50, (4, 7), generator=torch.Generator().manual_seed(0))


def train(model, tokens):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(tokens).logits.square().mean().backward()
        optimizer.step()


def train_on_ranks(kind, unit):
    model, tokens = problem()
    classes = {type(model.get_submodule(unit))} if unit else set()
    if kind == "ddp":
        train(DistributedDataParallel(model), mine(tokens))
    elif kind == "fsdp1":
        policy = ModuleWrapPolicy(classes)
        model = FullyShardedDataParallel(
            model, auto_wrap_policy=policy, use_orig_params=True, device_id=torch.device("cpu")
        )
        train(model, mine(tokens))
        with FullyShardedDataParallel.summon_full_params(model):
            named = {name.replace("_fsdp_wrapped_module.", ""): u.clone() for name, u in model.named_parameters()}
            return get_peft_model_state_dict(problem()[0], state_dict=named)
    else:
        mesh = dist.init_device_mesh("cpu", (2,))
        for module in reversed([m for m in model.modules() if m is model or type(m) in classes]):
            fully_shard(module, mesh=mesh)
        train(model, mine(tokens))
    return {k: getattr(v, "full_tensor", lambda v=v: v)() for k, v in get_peft_model_state_dict(model).items()}


LAYER = "base_model.model.model.layers.0"
WAYS = [("ddp", ""), ("fsdp2", ""), ("fsdp2", LAYER), ("fsdp1", ""), ("fsdp1", LAYER)]


def train_in_all_ways():
    states = [train_on_ranks(*way) for way in WAYS]
    try:
        train_on_ranks("fsdp2", f"{LAYER}.mlp.experts")
    except TypeError as error:
        return states, str(error)


@pytest.mark.slow
def test_two_ranks_train_as_one_process_unless_experts_are_sharded_on_their_own(tmp_path):
    model, tokens = problem()
    start = {name: u.clone() for name, u in get_peft_model_state_dict(model).items()}
    train(model, tokens)
    expected = get_peft_model_state_dict(model)
    assert moved(expected, start)
    for states, error in on_two_ranks(train_in_all_ways, tmp_path):
        for state in states:
            all_close(state, expected)
        assert "expected a parameter in this process' memory, found it sharded" in error
