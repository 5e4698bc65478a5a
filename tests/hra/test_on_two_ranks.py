"""Training on two ranks with DDP, FSDP 1 and FSDP 2: one pair of processes for all cases of each."""

import pytest
import torch
import torch.distributed as dist
from peft import HRAConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from sidebyside import FORMS, TARGETS, Net, adapt, close, llama
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.nn.parallel import DistributedDataParallel

import hra
from hra.base_layer import HRALayer
from two_ranks import on_two_ranks

pytestmark = pytest.mark.slow  # two processes import torch and PEFT, twice


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
    return {name: p.grad for name, p in trainable.items() if p.grad is not None}


def all_close(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        close(actual[name], tensor, 168, c=32)


def check_trained(ranks, folder, config, weight):
    """Compare the ranks' weights with those of one process, and what is saved in the folder; return that process's."""
    model, x, y = problem(**config)
    start = {name: weight.clone() for name, weight in get_peft_model_state_dict(model).items()}
    grads, trained = train(model, x, y, weight), get_peft_model_state_dict(model)
    assert all(not torch.allclose(trained[name], start[name], rtol=1e-3) for name in start)
    for rank in ranks:
        all_close(rank["weights"], trained)
        close(rank["output"], model(x), 168, c=32)
        assert torch.equal(rank["loaded"], rank["output"])
    base = problem()[0].unload()
    hra.uninstall()
    stock = PeftModel.from_pretrained(base, folder)
    assert not any(isinstance(m, HRALayer) for m in stock.modules())
    close(stock(x), model(x), 168, c=32)
    return grads, model, x


# DistributedDataParallel


def train_in_ddp(folder, name):
    model, x, y = problem(**FORMS[name])
    ddp = DistributedDataParallel(model)
    grads = train(ddp, mine(x), mine(y), weight=0.01)
    again = DistributedDataParallel(problem(**FORMS[name], seed=2)[0])
    again.load_state_dict(ddp.state_dict())
    if dist.get_rank() == 0:
        ddp.module.save_pretrained(folder / name)
    results = {"grads": grads, "weights": get_peft_model_state_dict(model), "state": ddp.state_dict()}
    return results | {"output": ddp(x).detach(), "loaded": again(x).detach()}


class Alike(nn.Module):
    """Layers of one shape, whose factors are computed together; no pass uses all of them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))

    def forward(self, x):
        for layer in self.layers[:3]:
            x = torch.tanh(layer(x))
        return x


def train_alike(static):
    torch.manual_seed(0)
    model = adapt(Alike().double(), target_modules=["0", "1", "2", "3"])
    x, y = torch.randn(2, 8, 12).double()
    if static is not None:
        ddp = DistributedDataParallel(model, find_unused_parameters=True, static_graph=static)
        x, y = mine(x), mine(y)
    return {"grads": train(ddp if static is not None else model, x, y), "weights": get_peft_model_state_dict(model)}


def all_in_ddp(folder):
    return {name: train_in_ddp(folder, name) for name in FORMS} | {static: train_alike(static) for static in (0, 1)}


@pytest.fixture(scope="module")
def in_ddp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    return folder, on_two_ranks(all_in_ddp, folder, folder)


@pytest.mark.parametrize("form", FORMS)
def test_ddp_trains_saves_and_loads_as_one_process(in_ddp, form):
    folder, ranks = in_ddp
    again, state = problem(**FORMS[form], seed=2)[0], ranks[0][form]["state"]
    consume_prefix_in_state_dict_if_present(state, "module.")
    again.load_state_dict(state)
    grads, _, x = check_trained([rank[form] for rank in ranks], folder / form, FORMS[form], 0.01)
    assert torch.equal(ranks[0][form]["output"], again(x))
    for rank in ranks:
        all_close(rank[form]["grads"], grads)
    for name, weight in ranks[0][form]["weights"].items():
        assert torch.equal(weight, ranks[1][form]["weights"][name])


@pytest.mark.parametrize("static", [0, 1])
def test_ddp_trains_layers_that_are_computed_together_as_one_process(in_ddp, static):
    one = train_alike(None)
    for rank in in_ddp[1]:
        all_close(rank[static]["weights"], one["weights"])
        assert len(one["grads"]) == 3
        all_close({name: rank[static]["grads"][name] for name in one["grads"]}, one["grads"])


# FSDP

# Submodules that are sharded separately, and the adapted layers.
UNITS = {"model": ((), TARGETS), "layers": ((HRALayer,), TARGETS), "linears": ((nn.Linear,), ["first", "second"])}
WAYS = [(f"fsdp{i}", units) for i in (1, 2) for units in UNITS]


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


def train_in_fsdp(folder, kind, units):
    config = {"target_modules": UNITS[units][1]}
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


def penalty_in_fsdp(kind, units, **config):
    model = shard(problem(**config)[0], kind, units)
    try:
        return hra.orthogonality_penalty(model).detach()
    except ValueError as error:
        return str(error)


def all_in_fsdp(folder):
    return {
        "training": [train_in_fsdp(folder / str(number), *way) for number, way in enumerate(WAYS)],
        "merging": [merge_in_fsdp(*way) for way in WAYS],
        "penalty": [penalty_in_fsdp("fsdp1", units) for units in ("model", "layers")],
        "infinite": penalty_in_fsdp("fsdp2", "layers", apply_GS=True),
        "llama": {dtype: train_llama_in_fsdp(dtype) for dtype in DTYPES},
    }


@pytest.fixture(scope="module")
def in_fsdp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp")
    return folder, on_two_ranks(all_in_fsdp, folder, folder)


@pytest.mark.parametrize("number", range(len(WAYS)), ids=lambda number: "-".join(WAYS[number]))
def test_fsdp_trains_saves_and_loads_as_one_process(in_fsdp, number):
    folder, ranks = in_fsdp
    kind, units = WAYS[number]
    trained, config = [rank["training"][number] for rank in ranks], {"target_modules": UNITS[units][1]}
    _, model, _ = check_trained(trained, folder / str(number), config, 0.01 if kind == "fsdp2" else 0)
    assert sum(rank["held"] for rank in trained) < 1.1 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("number", range(len(WAYS)), ids=lambda number: "-".join(WAYS[number]))
def test_merging_under_fsdp_is_an_error_and_changes_nothing(in_fsdp, number):
    model, x, _ = problem(target_modules=UNITS[WAYS[number][1]][1])
    for rank in in_fsdp[1]:
        found = rank["merging"][number]
        assert len(found["errors"]) == 4
        assert all("FSDP" in error and "without quantisation and sharding" in error for error in found["errors"])
        for output in found["outputs"]:
            close(output, model(x), 168)


def test_the_penalty_is_an_error_on_the_pieces_of_fsdp1_and_a_plain_zero_for_infinite_lambda(in_fsdp):
    for rank in in_fsdp[1]:
        assert all("FSDP1" in error for error in rank["penalty"])
        assert type(rank["infinite"]) is torch.Tensor and rank["infinite"] == 0


DTYPES = {"float32": torch.float32, "bfloat16, checkpointing": torch.bfloat16}


def language_model(dtype):
    torch.manual_seed(0)
    model = llama(2).to(DTYPES[dtype])
    if "checkpointing" in dtype:
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


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_llama_in_fsdp2_with_one_batch_on_both_ranks_trains_as_on_one(in_fsdp, dtype):
    """Compare up to rounding, which depends on the layout of the factors: a bank's lie in one tensor.

    The mean of two equal gradients is that gradient; the adapter stays float32.
    """
    ranks = [rank["llama"][dtype] for rank in in_fsdp[1]]
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
