"""Stacked experts: adapters of the parameters (E, out, in) or (E, in, out) of mixture-of-experts models."""

import copy
import threading
import warnings

import pytest
import torch
from moe import KINDS, NAMES, PLACE, Q_PROJ, adapted, built, wrappers
from peft import HRAConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from sidebyside import close, llama
from torch import nn

import hra
from hra import conversion, experts
from hra.base_layer import HRALayer
from hra.inspection import measure


@pytest.fixture(params=KINDS)
def base(request):
    return copy.deepcopy(built(request.param))


@pytest.fixture
def mixtral():
    return copy.deepcopy(built("mixtral"))


@pytest.fixture
def tokens():
    return torch.randint(0, 50, (2, 7))


def reflected(weight: torch.Tensor, us: list[torch.Tensor], apply_GS: bool, transposed: bool) -> torch.Tensor:
    """Multiply the weight of each expert with its H, built from the definition."""
    new = []
    for e, W in enumerate(weight.mT if transposed else weight):
        for u in us:
            columns = torch.linalg.qr(u[e]).Q if apply_GS else u[e]
            for one in columns.T:
                W = W - 2 * torch.outer(W @ one, one) / one.square().sum()
        new.append(W)
    return torch.stack(new).mT if transposed else torch.stack(new)


def test_paired_start_is_the_base_model(base, tokens):
    model = adapted(base, init_weights=True, target_modules=["q_proj"])
    close(model(tokens).logits, base(tokens).logits, 16)
    assert {name: tuple(one.hra_u["default"].shape) for name, one in wrappers(model).items()} == {
        "gate_up_proj": (3, 16, 4),
        "down_proj": (3, 24, 4),
    }
    # as wide as those of layers: torch's own initialisation of (E, n, r) counts E as outputs
    lengths = [model.get_parameter(f"{path}.hra_u.default").std() for path in (PLACE + ".base_layer", Q_PROJ)]
    assert 0.5 < lengths[0] / lengths[1] < 2


@pytest.mark.parametrize("config", [{}, {"apply_GS": True}, {"r": 3}, {"also": "b"}], ids=str)
def test_each_expert_is_multiplied_by_its_own_reflections(base, config):
    config = dict(config)
    names = ["default", *config.pop("also", "")]
    base.double().set_experts_implementation("eager")
    model = adapted(base, **config)
    for name in names[1:]:
        model.add_adapter(name, model.peft_config["default"])
    model.base_model.set_adapter(names)
    module, outer = base.model.layers[0].mlp.experts, model.get_submodule(PLACE)
    x = torch.randn(9, 16, dtype=torch.float64, requires_grad=True)
    chosen = torch.arange(18).view(9, 2) % 3, torch.rand(9, 2, dtype=torch.float64)
    changed = {}
    for name, wrapper in wrappers(model).items():
        us = [wrapper.hra_u[one] for one in names]
        gs, transposed = config.get("apply_GS", False), base.config.model_type == "gpt_oss"
        changed[name] = reflected(getattr(module, name), us, gs, transposed)
    expected = torch.func.functional_call(module, changed, (x, *chosen))
    actual = outer(x, *chosen)
    close(actual, expected, 64)
    wanted = [x, *(p for p in outer.parameters() if p.requires_grad)]
    assert len(wanted) == 1 + 2 * len(names)
    both = [torch.autograd.grad(one.square().sum(), wanted) for one in (actual, expected)]
    for ours, theirs in zip(*both, strict=True):
        close(ours, theirs, 256)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_weight_keeps_its_layout(transposed):
    """Kernels of grouped products require it."""
    V, B = torch.randn(2, 2, 4, 2)
    assert experts.rotated(torch.randn(2, *((4, 3) if transposed else (3, 4))), V, B, transposed).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_unmerging_and_disabling(base, tokens, dtype):
    base.to(dtype)
    model, digits = adapted(base), 16 if dtype == torch.float32 else 0.5
    adapter, plain = model(tokens).logits, base(tokens).logits
    assert (adapter - plain).abs().max() > 0.2
    module = wrappers(model)["down_proj"].get_base_layer()
    weights = copy.deepcopy(module.state_dict())
    with model.disable_adapter():
        assert torch.equal(model(tokens).logits, plain)
    model.merge_adapter()
    close(model(tokens).logits, adapter, digits)
    with model.disable_adapter():
        close(model(tokens).logits, plain, digits)
    model.unmerge_adapter()
    close(model(tokens).logits, adapter, digits)
    for name, weight in module.state_dict().items():
        close(weight, weights[name], digits if dtype == torch.float32 else 0)
    merged = model.merge_and_unload(safe_merge=True)
    assert type(merged.model.layers[0].mlp.experts) is type(base.model.layers[0].mlp.experts)
    close(merged(tokens).logits, adapter, digits)


def test_autocast_and_checkpointing_have_the_gradients_of_a_plain_step(base, tokens):
    model = adapted(base).train()
    us = [p for p in model.parameters() if p.requires_grad]

    def gradients():
        return torch.autograd.grad(model(tokens).logits.float().square().sum(), us)

    plain = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        for ours, theirs in zip(gradients(), plain, strict=True):
            assert (ours - theirs).norm() < 0.05 * theirs.norm()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for ours, theirs in zip(gradients(), plain, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_compiles_without_a_graph_break(kind):
    outer = adapted(built(kind)).get_submodule(PLACE)
    x = torch.randn(4, 16), torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1)
    us = [p for p in outer.parameters() if p.requires_grad]
    compiled = torch.compile(outer, fullgraph=True, backend="aot_eager")
    results = [one(*x) for one in (outer, compiled)]
    close(*results, 16)
    for ours, theirs in zip(*(torch.autograd.grad(one.sum(), us) for one in results), strict=True):
        close(ours, theirs, 16)


def test_saved_adapters_load_and_stock_peft_says_what_it_ignores(base, tokens, tmp_path):
    model = adapted(base, target_modules=["q_proj"])
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=True)
    assert isinstance(loaded.peft_config["default"], hra.HRAConfig)
    close(loaded(tokens).logits, model(tokens).logits, 16)
    hra.uninstall()
    with pytest.warns(UserWarning, match=r"Unexpected keyword arguments \['target_parameters'\]"):
        PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)


@pytest.mark.parametrize("config", [{}, {"apply_GS": True, "target_parameters": NAMES[1:]}], ids=str)
def test_exported_lora_gives_the_same_outputs_in_stock_peft(base, tokens, tmp_path, config):
    model = adapted(base, target_modules=["q_proj"], **config)
    hra.to_lora(model, tmp_path)
    assert len(load_file(tmp_path / "adapter_model.safetensors")[f"{PLACE}.lora_A.weight"]) == 3 * 4
    hra.uninstall()
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    assert type(loaded.peft_config["default"]) is LoraConfig
    close(loaded(tokens).logits, model(tokens).logits, 64)
    close(loaded.merge_and_unload()(tokens).logits, model(tokens).logits, 64)


def test_a_matrix_is_adapted_like_the_layer_that_has_it(tokens, tmp_path):
    base = llama()
    by_module = get_peft_model(copy.deepcopy(base), HRAConfig(r=4, init_weights=False, target_modules=["q_proj"]))
    by_name = adapted(base, target_parameters=["q_proj.weight"])
    by_name.load_state_dict(by_module.state_dict())
    close(by_name(tokens).logits, by_module(tokens).logits, 16)
    hra.to_lora(by_name, tmp_path)
    close(PeftModel.from_pretrained(base, tmp_path)(tokens).logits, by_name(tokens).logits, 16)


def test_the_penalty_takes_each_expert_as_a_layer(mixtral, tokens):
    model = adapted(mixtral)
    us = {wrapper: wrapper.hra_u["default"] for wrapper in wrappers(model).values()}
    single = nn.Sequential(*(nn.Linear(len(one), 1, bias=False) for u in us.values() for one in u))
    alone = get_peft_model(single, HRAConfig(r=4, target_modules=[str(i) for i in range(6)]))
    layers = [layer for layer in alone.modules() if isinstance(layer, HRALayer)]
    for layer, one in zip(layers, [one for u in us.values() for one in u], strict=True):
        layer.hra_u["default"].data.copy_(one)
    for squared in (True, False):
        close(hra.orthogonality_penalty(model, squared), hra.orthogonality_penalty(alone, squared), 16)
    for one in (model, alone):
        optimizer = torch.optim.Adam([p for p in one.parameters() if p.requires_grad], lr=0.1)
        hra.orthogonality_penalty(one).backward()
        optimizer.step()
    stepped = [one for u in us.values() for one in u]
    for layer, one in zip(layers, stepped, strict=True):
        close(one, layer.hra_u["default"], 16)


def test_another_thread_never_sees_the_adapted_weight_as_the_base_weight(mixtral):
    """The second call begins while the first is within the experts; without a lock it would rotate twice."""
    outer = adapted(mixtral).get_submodule(PLACE)
    x = torch.randn(4, 16), torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1)
    expected, results = outer(*x), {}
    second = threading.Thread(target=lambda: results.update(second=outer(*x)))

    def begin(*_):
        if not second.ident:
            second.start()
            second.join(0.2)

    outer.get_base_layer().register_forward_pre_hook(begin)
    results["first"] = outer(*x)
    second.join()
    assert torch.equal(results["first"], expected) and torch.equal(results["second"], expected)


def test_the_parameter_is_the_base_models_after_an_interrupted_call(mixtral):
    outer = adapted(mixtral).get_submodule(PLACE)
    module = outer.get_base_layer()
    before = dict(module.named_parameters())

    def stop(*_):
        raise KeyboardInterrupt

    module.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        outer(torch.randn(4, 16), torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1))
    assert all(one is before[name] for name, one in module.named_parameters())


def test_commands(mixtral, tokens, tmp_path, capsys):
    mixtral.save_pretrained(tmp_path / "base")
    model = adapted(type(mixtral).from_pretrained(tmp_path / "base"), task_type="CAUSAL_LM")
    model.save_pretrained(tmp_path / "adapter")
    adapter, expected = str(tmp_path / "adapter"), model(tokens).logits
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of `target_parameters` in PEFT's configuration
        conversion.merge(adapter, str(tmp_path / "merged"), None)
        conversion.to_lora(adapter, str(tmp_path / "lora"), None)
    assert "rank 4 on 2 layers" in capsys.readouterr().out
    close(type(mixtral).from_pretrained(tmp_path / "merged")(tokens).logits, expected, 64)


def test_measures(base, tmp_path):
    model = adapted(base)
    model.save_pretrained(tmp_path)
    rows = {row["layer"]: row for row in measure(str(tmp_path))}
    layers = {
        name.removeprefix("base_model.model."): one for name, one in model.named_modules() if isinstance(one, HRALayer)
    }
    assert rows.keys() == layers.keys()
    for name, layer in layers.items():
        V, B = layer.get_factors(["default"])
        H = torch.eye(layer.n) - B @ V.mT
        distances = (H - torch.eye(layer.n)).flatten(1).norm(dim=1)
        assert rows[name]["distance"] == pytest.approx(distances.mean().item(), rel=1e-5)
        assert (rows[name]["n"], rows[name]["r"], rows[name]["parameters"]) == (layer.n, 4, 3 * 4 * layer.n)
