"""Inserted adapters match the config, for every kind of method; AdaLoRA's schedule and BOFT's butterfly factors."""

import copy
import json
from types import SimpleNamespace

import peft
import pytest
import torch

from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, built_adapters
from hra_workflow.training import adalora
from support import method

TARGETS = ["query", "dense"]
HEAD = ["classifier"]


@pytest.fixture
def model():
    torch.manual_seed(0)
    layers = {"query": torch.nn.Linear(32, 24), "dense": torch.nn.Linear(64, 32), "classifier": torch.nn.Linear(24, 2)}
    return torch.nn.ModuleDict(layers)


def asked(kind: str, **sizes) -> dict:
    spec = method(kind, targets=TARGETS)
    return spec | {"peft": sizes or spec["peft"]}


EVERY_KIND = {
    "hra": {"r": 4, "bias": "hra_only"},
    "lora": {"r": 4, "lora_alpha": 8, "use_rslora": True, "bias": "all"},
    "oft": {"r": 4, "coft": True, "eps": 1e-3},
    "boft": {"boft_block_num": 4, "boft_n_butterfly_factor": 2, "bias": "boft_only"},
    "adalora": {"init_r": 4, "target_r": 2, "lora_alpha": 16},
}


def test_the_ranks_of_adalora_are_not_trained_in_half_precision(model):
    adapted = adapters.insert(model.bfloat16(), asked("adalora", **EVERY_KIND["adalora"]))
    ranks = [one for name, one in adapted.named_parameters() if "ranknum" in name]
    assert len(ranks) == 2 and not any(one.requires_grad for one in ranks)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_every_kind_asks_for_is_built(model, kind):
    """Check also a convolution of a target's name, by its kernel; BOFT's blocks would be 9 wide."""
    expected = TARGETS if kind == "boft" else [*TARGETS, "first.query"]
    if kind != "boft":
        model["first"] = torch.nn.ModuleDict({"query": torch.nn.Conv2d(4, 8, 3)})
    layers = built_adapters.adapted_layers(adapters.insert(model, asked(kind, **EVERY_KIND[kind]), HEAD))
    assert sorted(layers) == sorted(expected)
    assert kind == "boft" or built_adapters.inputs(layers["first.query"]) == 36


@pytest.mark.parametrize(
    ("kind", "sizes", "changes", "message"),
    [
        ("lora", {"r": 4}, {"r": 8}, r"query \(32 inputs, 24 outputs\): expected r 4, found r 8"),
        ("lora", {"r": 4}, {"use_rslora": True}, "query .* expected use_rslora False, found use_rslora True"),
        ("oft", {"oft_block_size": 8}, {"oft_block_size": 4}, r"query .* expected oft_block_size 8, found .* 4"),
        ("hra", {"r": 4}, {"target_modules": {"query"}}, "dense: expected an adapter for the targets dense, query"),
        ("hra", {"r": 4}, {"target_modules": {*TARGETS, *HEAD}}, "classifier: expected no adapter for the targets"),
        ("hra", {"r": 4}, {"modules_to_save": None}, "head module 'classifier' matches no parameter of PeftModel"),
        ("lora", {"r": 4}, {"bias": "lora_only"}, "dense.base_layer.bias: expected frozen by lora, found trained"),
        # Sizes that PEFT adjusts without an error
        ("oft", {"r": 3}, {}, "query .* expected r 3, found r 2"),
        ("lora", {"r": 28, "init_lora_weights": "pissa"}, {}, "query .* expected r 28, found r 24"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid `")
def test_another_insertion_than_asked_is_refused(model, monkeypatch, kind, sizes, changes, message):
    """Let PEFT build from another config than the one that it is given."""
    build = peft.get_peft_model
    monkeypatch.setattr(
        peft, "get_peft_model", lambda model, config: vars(config).update(changes) or build(model, config)
    )
    with pytest.raises(JobError, match=message):
        adapters.insert(model, asked(kind, **sizes), None if "target_modules" in changes else HEAD)


def test_a_stored_adapter_is_built_as_its_config_says(model, tmp_path, monkeypatch):
    adapters.save(adapters.insert(model, asked("lora", r=4, lora_alpha=8)), tmp_path)
    fresh = torch.nn.ModuleDict({"query": torch.nn.Linear(32, 24), "dense": torch.nn.Linear(64, 32)})
    other = peft.LoraConfig(r=4, lora_alpha=4, target_modules=TARGETS)
    monkeypatch.setattr(peft.LoraConfig, "from_pretrained", lambda *_, **__: other)
    with pytest.raises(JobError, match="expected lora_alpha 8, found lora_alpha 4"):
        adapters.load(fresh, asked("lora"), tmp_path)


@pytest.mark.parametrize(
    ("kind", "head", "name", "state"),
    [
        ("hra", HEAD, "base_model.model.dense.base_layer.weight", "frozen"),
        ("hra", HEAD, "base_model.model.dense.hra_u.default", "trained"),
        ("bitfit", HEAD, "dense.bias", "trained"),
        ("head", HEAD, "classifier.weight", "trained"),
        ("head", HEAD, "query.bias", "frozen"),
        ("pretrained", [], "query.weight", "frozen"),
    ],
)
def test_exactly_the_parameters_of_the_kind_train(model, kind, head, name, state):
    if kind == "hra":
        model = adapters.insert(model, asked(kind), head)
    else:
        adapters.select_trainable(model, method(kind), head)
    model.get_parameter(name).requires_grad_(state == "frozen")
    with pytest.raises(JobError, match=f"{name.removeprefix('base_model.model.')}: expected {state} by {kind}"):
        built_adapters.check_trained(model, method(kind), head)


@pytest.mark.parametrize(
    ("kind", "head", "train_head", "message"),
    [
        ("head", ["score"], True, "head module 'score' matches no parameter of ModuleDict"),
        ("head", HEAD, False, "head would train nothing in ModuleDict"),
        ("bitfit", HEAD, True, "bitfit would train nothing in ModuleDict"),
    ],
)
def test_a_method_that_would_train_nothing_is_refused(model, kind, head, train_head, message):
    if kind == "bitfit":
        for name in TARGETS:
            model[name].bias = None
    with pytest.raises(JobError, match=message):
        adapters.select_trainable(model, method(kind, train_head=train_head), head)


def test_equal_runs_give_equal_files(tmp_path):
    path, texts = tmp_path / "adapter_config.json", set()
    for order in (["b", "a"], ["a", "b"]):
        path.write_text(json.dumps({"target_modules": order, "r": 8}))
        adapters.sort_config(path)
        texts.add(path.read_text())
    assert len(texts) == 1


def test_adalora_schedule_follows_the_number_of_steps():
    stated = method("adalora")
    for steps in ({}, {"tinit": 5, "tfinal": 7}):  # a preset may state them
        config = adapters.peft_config(stated | {"peft": stated["peft"] | steps}, total_steps=200)
        assert (config.tinit, config.tfinal, config.total_step) == (*(steps.values() or (20, 60)), 200)


def test_adaloras_regulariser_is_the_mean_over_its_factors():
    """Check an A of twice unit length, with ‖4I − I‖_F = 3 √2, and an orthogonal B."""
    model = torch.nn.ParameterDict({"lora_A": 2 * torch.eye(2, 5), "lora_B": torch.eye(7, 2)})
    model.peft_config = {"default": SimpleNamespace(orth_reg_weight=0.5)}
    assert adalora.penalty(model, {}).item() == pytest.approx(0.5 * 3 * 2**0.5 / 2)


def test_ranks_are_allocated_after_each_step_counted_from_one():
    steps = []
    model = SimpleNamespace(base_model=SimpleNamespace(update_and_allocate=steps.append))
    for finished in range(3):
        adalora.AllocateRanks().on_optimizer_step(None, SimpleNamespace(global_step=finished), None, model=model)
    assert steps == [1, 2, 3]  # PEFT's schedule ends at `total_step`


BLOCK, INPUTS, OUTPUTS = 4, 32, 24


def rotation(blocks: torch.Tensor) -> torch.Tensor:
    """B_{m-1} ⋯ B_0 (arXiv 2311.06243, section 4), from blocks (m, n / b, b, b).

    B_i has orthogonal blocks on pairs of half blocks with distance 2^i: Cayley's (I - S)(I + S)⁻¹, S = (X - Xᵀ) / 2.
    """
    m, count, b, _ = blocks.shape
    product = torch.eye(count * b, dtype=blocks.dtype)
    halves = torch.arange(count * b).view(2 * count, b // 2)
    for i in range(m):
        factor = torch.zeros(count * b, count * b, dtype=blocks.dtype)
        firsts = [h for h in range(2 * count) if not h & 2**i]  # the other of each pair has bit i set
        for first, X in zip(firsts, blocks[i], strict=True):
            S, one = (X - X.T) / 2, torch.eye(b, dtype=blocks.dtype)
            rows = torch.cat([halves[first], halves[first + 2**i]])
            factor = factor.index_put((rows[:, None], rows[None]), (one - S) @ torch.linalg.inv(one + S))
        product = factor @ product
    return product


@pytest.mark.parametrize("m", [1, 4])
def test_forward_gradients_merged_and_saved_are_those_of_the_product_of_butterfly_factors(monkeypatch, tmp_path, m):
    builds = []  # of PEFT's extension in C++
    monkeypatch.setattr("torch.utils.cpp_extension.load", lambda **options: builds.append(options))
    monkeypatch.setattr("peft.tuners.boft.layer._FBD_CUDA", None, raising=False)  # as in a new process
    spec = method("boft", peft={"boft_block_size": BLOCK, "boft_n_butterfly_factor": m}, targets=["linear"])
    torch.manual_seed(0)
    base = torch.nn.ModuleDict({"linear": torch.nn.Linear(INPUTS, OUTPUTS)}).double()
    model = adapters.insert(copy.deepcopy(base), spec).double()
    layer = model.get_submodule("base_model.model.linear")
    blocks, scale = layer.boft_R["default"], layer.boft_s["default"]
    for parameter in (blocks, scale):
        torch.nn.init.normal_(parameter, mean=0.5)

    x = torch.randn(5, INPUTS, dtype=torch.float64, requires_grad=True)
    found = layer(x)
    expected = x @ rotation(blocks) @ base.linear.weight.T * scale.view(-1) + base.linear.bias
    assert torch.allclose(found, expected, atol=1e-12)
    gradients = [torch.autograd.grad(one.sin().sum(), (x, blocks, scale)) for one in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.abs().max() > 0.01 and torch.allclose(ours, theirs, atol=1e-11)
    adapters.save(model, tmp_path)
    monkeypatch.setattr("peft.tuners.boft.layer._FBD_CUDA", None, raising=False)
    loaded = adapters.load(copy.deepcopy(base), spec, tmp_path).double()
    for one in (loaded, model):
        assert torch.allclose(one.merge_and_unload().linear(x), expected, atol=1e-12)
    assert builds == []
