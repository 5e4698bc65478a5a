"""Training on two ranks with FSDP 1 and 2."""

import copy

import pytest
import torch
import torch.distributed as dist
from peft import HRAConfig, get_peft_model, get_peft_model_state_dict
from sidebyside import EXTENDED, TARGETS, close, llama
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from trained_on_ranks import all_close, load_in_stock, mine, moved, problem, train

import hra
from hra.base_layer import HRALayer
from two_ranks import on_two_ranks

# Submodules that are sharded separately, and the adapted layers.
UNITS = {"model": ((), TARGETS), "layers": ((HRALayer,), TARGETS), "linears": ((nn.Linear,), ["first", "second"])}
WAYS = [(f"fsdp{i}", units) for i in (1, 2) for units in UNITS]
in_each_way = pytest.mark.parametrize(("kind", "units"), WAYS)
BOTH = EXTENDED["both"]


def shard(model, kind, units):
    classes, _ = UNITS[units]
    if kind == "fsdp1":
        policy, device = ModuleWrapPolicy(classes), torch.device("cpu")
        return FullyShardedDataParallel(model, auto_wrap_policy=policy, use_orig_params=True, device_id=device)
    mesh = dist.init_device_mesh("cpu", (2,))
    for module in [m for m in model.modules() if isinstance(m, classes)] + [model]:
        fully_shard(module, mesh=mesh)
    return model


def full_state(model):
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))


def train_in_fsdp(folder, kind, units, form):
    config = {"target_modules": UNITS[units][1]} | form
    model, x, y = problem(**config)
    sharded = shard(model, kind, units)
    held = sum(getattr(p, "_local_tensor", p).numel() for p in sharded.parameters())
    # Under FSDP1 a layer has no own u outside of its forward.
    train(sharded, mine(x), mine(y), weight=0.01 if kind == "fsdp2" else 0)
    state = full_state(sharded)
    # PEFT selects tensors by module names, into which FSDP1 inserts its own.
    named = model if kind == "fsdp2" else problem(**config)[0]
    weights = get_peft_model_state_dict(named, state_dict=state)
    if dist.get_rank() == 0:
        named.save_pretrained(folder, state_dict=state)
    again = shard(problem(**config, seed=2)[0], kind, units)
    set_model_state_dict(again, state, options=StateDictOptions(full_state_dict=True))
    return {"held": held, "weights": weights, "output": sharded(x).detach(), "loaded": again(x).detach()}


# With two sides and base layers that FSDP1 shards on their own, a layer has no bias after its call.
BOTH_SIDES = [(*way, BOTH) for way in WAYS if way != ("fsdp1", "linears")]


@pytest.mark.parametrize(("kind", "units", "form"), [*((*way, {}) for way in WAYS), *BOTH_SIDES])
def test_fsdp_trains_saves_and_loads_as_one_process(tmp_path, kind, units, form):
    ranks = on_two_ranks(train_in_fsdp, tmp_path, tmp_path, kind, units, form)
    model, x, y = problem(target_modules=UNITS[units][1], **form)
    start = copy.deepcopy(get_peft_model_state_dict(model))
    train(model, x, y, weight=0.01 if kind == "fsdp2" else 0)
    trained = get_peft_model_state_dict(model)
    assert moved(trained, start)
    whole = sum(p.numel() for p in model.parameters())
    assert sum(rank["held"] for rank in ranks) < 1.1 * whole
    for rank in ranks:
        all_close(rank["weights"], trained)
        close(rank["output"], model(x), 168, c=32)
        assert torch.equal(rank["loaded"], rank["output"])
    if not form:
        close(load_in_stock(tmp_path)(x), ranks[0]["output"], 168, c=32)


def language_model(dtype):
    torch.manual_seed(0)
    model = llama(2).to(dtype)
    if dtype == torch.bfloat16:
        model.gradient_checkpointing_enable()
    return get_peft_model(model, HRAConfig(r=4, task_type="CAUSAL_LM")).train(), torch.randint(0, 50, (4, 7))


def train_llama(model, tokens):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(model(input_ids=tokens, labels=tokens).loss)
        losses[-1].backward()
        optimizer.step()
    return torch.stack(losses).detach()


def train_llama_in_fsdp(dtype):
    model, tokens = language_model(dtype)
    for block in model.base_model.model.model.layers:
        fully_shard(block)
    fully_shard(model)
    losses = train_llama(model, tokens)
    with pytest.raises(ValueError, match="export it in one process"):
        hra.to_lora(model)
    return {"losses": losses, "weights": get_peft_model_state_dict(model, state_dict=full_state(model))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16, checkpointing"])
def test_a_llama_in_fsdp2_with_one_batch_on_both_ranks_trains_as_on_one(tmp_path, dtype):
    """Compare up to rounding, which depends on the layout of the factors: a bank's lie in one tensor.

    The mean of two equal gradients is that gradient; the adapter stays float32.
    """
    ranks = on_two_ranks(train_llama_in_fsdp, tmp_path, dtype)
    model, tokens = language_model(dtype)
    losses = train_llama(model, tokens)
    assert losses[-1] < losses[0]
    expected = get_peft_model_state_dict(model)
    for rank in ranks:
        close(rank["losses"], losses, 4)
        assert set(rank["weights"]) == set(expected)
        for name, weight in expected.items():
            assert weight.dtype == torch.float32
            close(rank["weights"][name], weight, 4)


def merge_in_fsdp(kind, units):
    """Collect the errors of merging and of unmerging an earlier merge, each tried before and after a forward."""
    errors, outputs = [], []
    for merged in (False, True):
        model, x, _ = problem(target_modules=UNITS[units][1])
        if merged:
            model.merge_adapter()
        sharded = shard(model, kind, units)
        for _ in range(2):  # after a forward FSDP2 leaves the root's weights unsharded
            try:
                (model.unmerge_adapter if merged else model.merge_adapter)()
            except TypeError as error:
                errors.append(str(error))
            with torch.no_grad():
                outputs.append(sharded(x))
    return {"errors": errors, "outputs": outputs}


@in_each_way
def test_merging_under_fsdp_is_an_error_and_changes_nothing(tmp_path, kind, units):
    model, x, _ = problem(target_modules=UNITS[units][1])
    for rank in on_two_ranks(merge_in_fsdp, tmp_path, kind, units):
        assert len(rank["errors"]) == 4
        assert all("FSDP" in error and "without quantisation and sharding" in error for error in rank["errors"])
        for output in rank["outputs"]:
            close(output, model(x), 168)


def penalty_in_fsdp(kind, units, config):
    model = shard(problem(**config)[0], kind, units)
    try:
        return {"penalty": hra.orthogonality_penalty(model).detach()}
    except ValueError as error:
        return {"error": str(error)}


@pytest.mark.parametrize("units", ["model", "layers"])
def test_penalty_on_the_pieces_of_fsdp1_is_an_error(tmp_path, units):
    for rank in on_two_ranks(penalty_in_fsdp, tmp_path, "fsdp1", units, {}):
        assert "FSDP1" in rank["error"]


def test_penalty_of_infinite_lambda_in_fsdp2_is_a_plain_zero(tmp_path):
    for rank in on_two_ranks(penalty_in_fsdp, tmp_path, "fsdp2", "layers", {"apply_GS": True}):
        assert type(rank["penalty"]) is torch.Tensor and rank["penalty"] == 0
