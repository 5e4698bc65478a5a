"""One adapted Linear layer: initialisation, dtypes, merging, and inputs that must be rejected."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modified import COMPUTED, OBSERVERS, double_gradient
from peft import HRAConfig, LoraConfig, get_peft_model, inject_adapter_in_model
from sidebyside import close, layer
from torch import nn

import hra
from hra.base_layer import HRALayer
from hra.layers import Linear
from hra.reflections import compact, reflect


def rotated(base: nn.Linear, x, *us):
    """Compute W D_1 D_2 ... x + b from the definition."""
    for u in reversed(us):
        x = reflect(x, *compact(u))
    return base(x)


# Initialisation


def test_starts_at_the_base_model_with_the_columns_that_PEFT_would_draw():
    base, x = nn.Linear(16, 8), torch.randn(5, 16)
    torch.manual_seed(3)
    ours = layer(copy.deepcopy(base), init_weights=True)
    close(ours(x), base(x), 16)
    hra.uninstall()
    torch.manual_seed(3)
    theirs = layer(copy.deepcopy(base), init_weights=True)
    assert isinstance(ours, HRALayer) and not isinstance(theirs, HRALayer)
    assert torch.equal(ours.hra_u["default"], theirs.hra_u["default"])


def test_infinite_lambda_does_not_start_paired():
    u = layer(nn.Linear(16, 8), init_weights=True, apply_GS=True).hra_u["default"].detach()
    assert torch.linalg.svdvals(u).min() > 0.1
    merged = layer(nn.Linear(16, 8), init_weights=True, apply_GS=True)
    weight = merged.weight.clone()
    merged.merge()
    assert not torch.allclose(merged.weight, weight)
    merged.unmerge()
    close(merged.weight, weight, 16)


def test_odd_r_with_the_paired_start_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"r = 7: .*even r \(for example 8\).*init_weights=False"):
        layer(nn.Linear(16, 8), r=7, init_weights=True)
    layer(nn.Linear(16, 8), r=7, init_weights=False)
    layer(nn.Linear(16, 8), r=7, init_weights=True, apply_GS=True)


@pytest.mark.parametrize("apply_GS", [False, True])
def test_r_above_the_width_is_an_error_that_names_the_layer(apply_GS):
    with pytest.raises(ValueError, match=r"r = 8 on Linear\(in_features=6, .*r <= 6"):
        layer(nn.Linear(6, 8), r=8, init_weights=True, apply_GS=apply_GS)


def test_r_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        layer(nn.Linear(6, 8), r=0)


def test_a_refused_adapter_leaves_no_trace():
    ours = layer(nn.Linear(6, 8))
    with pytest.raises(ValueError, match="odd"):
        ours.update_layer("other", 3, HRAConfig(r=3))
    assert list(ours.hra_u) == ["default"] == list(ours.hra_r)


def test_resetting_keeps_the_parameter():
    ours = layer(nn.Linear(16, 8))
    u = ours.hra_u["default"]
    ours.reset_hra_parameters("default")
    assert ours.hra_u["default"] is u
    assert torch.equal(u[:, 0::2], u[:, 1::2])


# Dtypes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_base(dtype):
    base, x = nn.Linear(64, 32).to(dtype), torch.randn(9, 64).to(dtype)
    ours = layer(copy.deepcopy(base))
    u = ours.hra_u["default"]
    assert u.dtype == torch.float32
    y = ours(x)
    assert y.dtype == dtype
    close(y.float(), rotated(base.float(), x.float(), u), 8, dtype=dtype)
    y.float().square().sum().backward()
    assert u.grad.dtype == torch.float32
    start = layer(copy.deepcopy(base).to(dtype), init_weights=True)
    close(start(x), base.to(dtype)(x), 8)


@pytest.mark.parametrize(("base_dtype", "dtype"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_input_of_another_dtype_than_the_base_gives_back_its_own(base_dtype, dtype):
    base, x = nn.Linear(64, 32).to(base_dtype), torch.randn(9, 64).to(dtype)
    ours = layer(base)
    y = ours(x)
    assert y.dtype == dtype
    expected = rotated(copy.deepcopy(base).float(), x.float(), ours.hra_u["default"])
    close(y.float(), expected, 8, dtype=torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("base", [nn.Linear(64, 32), nn.Conv2d(4, 8, 4)])
def test_autocast_changes_no_more_than_it_does_to_the_frozen_layer(base, dtype):
    x = torch.randn(9, 64).to(dtype) if isinstance(base, nn.Linear) else torch.randn(2, 4, 8, 8)
    start = layer(copy.deepcopy(base), init_weights=True)
    ours = layer(copy.deepcopy(base))
    exact = ours(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        y, frozen = start(x), base(x)
        assert y.dtype == frozen.dtype == torch.bfloat16
        close(y, frozen, 1, c=2)
        y = ours(x)
        assert y.dtype == torch.bfloat16
        V, B = ours.get_factors(["default"])
        merged = copy.deepcopy(ours)
        merged.merge()
    assert V.dtype == B.dtype == torch.float32
    H = torch.eye(64) - B @ V.T
    close(H @ H.T, torch.eye(64), 64)
    close(y.float(), exact, 8, dtype=torch.bfloat16)
    close(merged(x.float()), exact, 64)  # merging does not use reduced precision
    y.float().square().sum().backward()
    assert ours.hra_u["default"].grad.dtype == torch.float32


def test_adapter_in_the_dtype_of_the_base_on_request():
    model = nn.Sequential(nn.Linear(64, 32).bfloat16())
    config = HRAConfig(r=4, target_modules=["0"])
    model = get_peft_model(model, config, autocast_adapter_dtype=False)
    ours, x = model.base_model.model[0], torch.randn(9, 64).bfloat16()
    assert ours.hra_u["default"].dtype == torch.bfloat16
    close(ours(x), ours.base_layer(x), 1, c=2)  # r x r algebra still in float32


@settings(max_examples=20, deadline=None)
@given(
    st.integers(2, 10),
    st.integers(1, 10),
    st.lists(st.tuples(st.integers(1, 2), st.booleans()), min_size=1, max_size=3),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_any_shape_dtype_and_number_of_adapters(n, out, adapters, dtype):
    base = nn.Linear(n, out).to(dtype)
    x = torch.randn(2, 3, n).to(dtype)
    ours = None
    for i, (r, apply_GS) in enumerate(adapters):
        config = HRAConfig(r=r, init_weights=False, apply_GS=apply_GS)
        if ours is None:
            ours = Linear(copy.deepcopy(base), "0", config, r)
        else:
            ours.update_layer(str(i), r, config)
    names = [str(i) for i in range(len(adapters))]
    ours.set_adapter(names)
    D = torch.eye(n, dtype=torch.promote_types(dtype, torch.float32))
    for name in names:
        D = D @ ours.get_delta_weight(name)
    close(D @ D.T, torch.eye(n), 4 * n)
    expected = (x.to(D.dtype) @ D.T).to(dtype)
    y = ours(x)
    assert y.shape == (2, 3, out) and y.dtype == dtype
    close(y, base(expected), 8 * n)
    weight = ours.weight.clone()
    ours.merge()
    close(ours(x), y, 8 * n)
    ours.unmerge()
    close(ours.weight, weight, 0 if dtype == torch.bfloat16 else 8 * n)


# Merging


def test_merged_and_disabled_gives_the_base_without_a_change_of_state():
    base, x = nn.Linear(16, 8), torch.randn(5, 16)
    ours = layer(copy.deepcopy(base))
    ours.merge()
    weight = ours.weight.clone()
    ours.enable_adapters(False)
    close(ours(x), base(x), 16)
    assert ours.merged and torch.equal(ours.weight, weight)
    ours.enable_adapters(True)
    ours.unmerge()
    close(ours.weight, base.weight, 16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", [nn.Linear(16, 8), nn.Conv2d(3, 4, (2, 3))])
def test_reduced_precision_unmerges_to_the_original_bits(base, dtype):
    ours = layer(copy.deepcopy(base).to(dtype))
    ours.update_layer("other", 2, HRAConfig(r=2, init_weights=False))
    before = ours.weight.clone()
    for _ in range(3):
        ours.merge(adapter_names=["default"])
        after = ours.weight.clone()
        with pytest.warns(UserWarning, match="additionally merging"):
            ours.merge(adapter_names=["other"], safe_merge=True)
        assert not torch.equal(after, before) and not torch.equal(ours.weight, after)
        ours.unmerge()
        assert torch.equal(ours.weight, before)
    assert ours._weight_before_merge is None  # the copy is not kept longer than needed


def test_unmerge_undoes_what_was_merged_even_if_the_adapter_has_changed():
    ours = layer(nn.Linear(16, 8))
    before = ours.weight.clone()
    ours.merge()
    ours.hra_u["default"].data.normal_()
    ours.unmerge()
    close(ours.weight, before, 16)


def test_channels_last_weight_merges_and_stays_channels_last():
    base = nn.Conv2d(3, 4, (2, 3)).to(memory_format=torch.channels_last)
    ours, x = layer(base), torch.randn(2, 3, 5, 6)
    before, y = ours.weight.clone(), ours(x)
    ours.merge()
    close(ours(x), y, 18)
    assert ours.weight.is_contiguous(memory_format=torch.channels_last)
    ours.unmerge()
    close(ours.weight, before, 18)


def test_safe_merge_finds_NaN_and_leaves_the_weight():
    ours = layer(nn.Linear(16, 8))
    before = ours.weight.clone()
    ours.hra_u["default"].data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaNs detected"):
        ours.merge(safe_merge=True)
    assert torch.equal(ours.weight, before) and not ours.merged


def test_unmerging_twice_warns():
    with pytest.warns(UserWarning, match="Already unmerged"):
        layer(nn.Linear(16, 8)).unmerge()


# Base layers without a plain weight


class FourBitLinear(nn.Linear):
    """Stands in for a quantised layer: an nn.Linear whose weight is integer codes."""

    def __init__(self, dense: nn.Linear):
        super().__init__(dense.in_features, dense.out_features)
        self.scale = dense.weight.detach().abs().max() / 7
        codes = (dense.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(codes, requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


class QuantLinear(nn.Module):
    """Stands in for a quantised layer that is not an nn.Linear and has no weight."""

    def __init__(self, base: FourBitLinear):
        super().__init__()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.register_buffer("qweight", base.weight.data)
        self.call = [base]

    def forward(self, x):
        return self.call[0](x)


@pytest.mark.parametrize("wrap", [lambda base: base, QuantLinear])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantised_base_is_called_as_a_black_box(wrap, dtype):
    base = FourBitLinear(nn.Linear(16, 8))
    x = torch.randn(5, 16).to(dtype)
    base.bias.data = base.bias.data.to(dtype)
    ours = layer(wrap(base))
    u = ours.hra_u["default"]
    assert u.dtype == torch.float32
    close(ours(x), rotated(base, x, u), 1)
    ours(x).sum().backward()
    assert u.grad is not None
    with pytest.raises(
        TypeError, match=rf"cannot merge into 0: .* found a quantised .* of {type(ours.base_layer).__name__}"
    ):
        ours.merge()


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_merging_into_a_quantised_layer_is_refused_before_any_layer_is_merged(merge):
    plain, x = nn.Linear(16, 16), torch.randn(5, 16)
    config = HRAConfig(r=4, init_weights=False, target_modules=["0", "1"])
    model = get_peft_model(nn.Sequential(plain, FourBitLinear(nn.Linear(16, 8))), config)
    before, weight = model(x), plain.weight.clone()
    with pytest.raises(TypeError, match=r"cannot merge into 1: .*export it with `hra.to_lora`"):
        getattr(model, merge)()
    assert torch.equal(plain.weight, weight) and torch.equal(model(x), before)


def test_trainable_base_weight_gets_its_gradient():
    base, x = nn.Linear(16, 8).double(), torch.randn(5, 16).double()
    ours = layer(copy.deepcopy(base))
    ours.base_layer.requires_grad_(True)
    ours(x).square().sum().backward()
    rotated(base, x, ours.hra_u["default"].detach()).square().sum().backward()
    close(ours.base_layer.weight.grad, base.weight.grad, 16)
    close(ours.base_layer.bias.grad, base.bias.grad, 16)


@pytest.mark.parametrize("apply_GS", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_input_without_gradient_gives_the_same_outputs_and_gradients(apply_GS, dtype, autocast):
    ours, x = layer(nn.Linear(64, 32).to(dtype), apply_GS=apply_GS), torch.randn(3, 5, 64).to(dtype)
    u = ours.hra_u["default"]
    results = []
    for needed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = ours(x.clone().requires_grad_(needed))
        y.double().square().sum().backward()
        results.append((y, u.grad.clone()))
        u.grad = None
    assert results[0][0].dtype == results[1][0].dtype
    rounded = torch.bfloat16 if autocast else dtype
    for bottom, middle in zip(*results, strict=True):
        close(bottom, middle, 8, dtype=rounded)


@pytest.mark.parametrize(("name", "base"), [("linear", nn.Linear(16, 8)), ("conv2d", nn.Conv2d(4, 8, 3, padding=1))])
def test_no_gradient_comes_back_through_the_base_to_an_input_that_needs_none(name, base, monkeypatch):
    ours, function, called = layer(base), getattr(nn.functional, name), []

    def watched(x, weight, *rest):
        y = function(x, weight, *rest)
        called.extend([y.requires_grad] if weight is base.weight else [])
        return y

    monkeypatch.setattr(nn.functional, name, watched)
    ours(torch.randn(5, 16) if name == "linear" else torch.randn(2, 4, 5, 5)).sum().backward()
    assert called == [False] and ours.hra_u["default"].grad.ne(0).any()


# Base layers that do more than their class says


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("modify", [*OBSERVERS, *COMPUTED, double_gradient])
def test_training_and_inference_are_the_same_on_a_base_that_was_modified(modify):
    """W H x by the base layer's own call on H x, with or without gradients, for inputs with or without."""
    base, x = nn.Linear(16, 8), torch.randn(5, 16)
    modify(base)
    base.eval().requires_grad_(False)
    base(x)
    ours = layer(base).eval()
    u, results = ours.hra_u["default"], []
    expected = rotated(base, x, u)
    for needed in (False, True):
        y = ours(x.clone().requires_grad_(needed))
        y.square().sum().backward()
        close(y, expected, 16)
        results.append(u.grad.clone())
        u.grad = None
    close(results[0], results[1], 64)
    with torch.no_grad():
        close(ours(x), expected, 16)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("modify", COMPUTED)
@pytest.mark.parametrize("base", [nn.Linear(16, 8), nn.Conv2d(3, 4, 3)])
def test_merging_into_a_weight_that_is_computed_is_refused(modify, base):
    base = copy.deepcopy(base)
    modify(base)
    ours = get_peft_model(nn.Sequential(base), HRAConfig(r=4, target_modules="0", init_weights=False))
    with pytest.raises(TypeError, match=r"merge into 0: .*found one that hooks or parametrizations compute.*remove_"):
        ours.merge_adapter()
    with pytest.raises(TypeError, match=r"0: .*found one that hooks or parametrizations compute"):
        hra.to_lora(ours)


# Merges and adapters that would be lost or wrong


class Tied(nn.Module):
    """An embedding whose weight is also the output layer's, and a layer that is used in two places."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 16), nn.Linear(16, 9, bias=False)
        self.head.weight = self.embed.weight
        self.first = self.second = nn.Linear(16, 16)

    def forward(self, x):
        return self.head(self.second(self.first(self.embed(x))))


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
@pytest.mark.parametrize(
    ("target", "other"), [("head", r"embed\.weight"), ("first", "second")], ids=["a weight", "a layer"]
)
def test_merging_into_what_other_parts_of_the_model_use_is_refused(target, other, merge):
    model = get_peft_model(Tied(), HRAConfig(r=4, init_weights=False, target_modules=[target]))
    x = torch.arange(9)
    before = model(x)
    with pytest.raises(ValueError, match=rf"merge into {target}: .*its weight is also .*{other}.*tie_word_embeddings"):
        getattr(model, merge)()
    assert torch.equal(model(x), before)
    _, state = hra.to_lora(model)
    assert len(state) == 2


def test_merging_a_layer_of_a_block_that_is_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Sequential(nn.Linear(16, 16), nn.Tanh())

        def forward(self, x):
            return self.second(self.first(x))

    model, x = get_peft_model(Twice(), HRAConfig(r=4, init_weights=False, target_modules=["0"])), torch.randn(5, 16)
    y = model(x)
    close(model.merge_and_unload()(x), y, 64)


@pytest.mark.parametrize("base", [nn.Linear(16, 16), nn.Conv2d(3, 4, 3)])
def test_merging_and_export_above_another_adapter_is_refused(base):
    model = nn.ModuleDict({"layer": copy.deepcopy(base)})
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False), model, "below")
    model = get_peft_model(model, HRAConfig(r=4, init_weights=False, target_modules=["layer"]))
    message = r"layer: expected a layer of the base model, found one with another adapter \(peft.tuners.lora.layer\)"
    for merge in (model.merge_adapter, model.merge_and_unload, lambda: hra.to_lora(model)):
        with pytest.raises(TypeError, match=message):
            merge()


class ReadsWeight(nn.Module):
    """Reads the weight of `q`, and only the dtype of `v`'s, as several models of transformers do."""

    def __init__(self):
        super().__init__()
        self.q, self.v = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        assert self.q.weight.shape == (16, 16) and self.q.weight.stride() == (16, 1)
        return nn.functional.linear(x, self.q.weight, self.q.bias) + self.v(x.to(self.v.weight.dtype))


def test_a_weight_that_a_forward_pass_uses_without_calling_the_layer_is_an_error():
    model = get_peft_model(ReadsWeight(), HRAConfig(r=4, init_weights=False, target_modules=["q", "v"]))
    x, q = torch.randn(5, 16), model.base_model.model.q
    for trains in (True, False):
        with (
            torch.set_grad_enabled(trains),
            pytest.raises(ValueError, match=r"cannot adapt q: .*without calling it.*no effect.*exclude_modules"),
        ):
            model(x)
    assert torch.equal(q.weight.clone(), q.base_layer.weight)  # not in a forward pass
    with model.disable_adapter():
        before = model(x)
    model.merge_adapter()
    assert not torch.allclose(model(x), before)
    get_peft_model(ReadsWeight(), HRAConfig(r=4, target_modules=["v"]))(x)


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "out_proj"])
def test_a_projection_of_WavLM_is_refused(name):
    from transformers import WavLMConfig, WavLMModel

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"conv_dim": (8,), "conv_kernel": (10,), "conv_stride": (5,), "num_conv_pos_embeddings": 4}
    model = WavLMModel(WavLMConfig(**sizes, num_conv_pos_embedding_groups=2))
    model = get_peft_model(model, HRAConfig(r=4, target_modules=[name]))
    with pytest.raises(ValueError, match=rf"cannot adapt encoder.layers.0.attention.{name}"):
        model(torch.randn(1, 200))


def test_output_projection_of_multihead_attention_is_refused():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(16, 2)})
    with pytest.raises(ValueError, match=r"attention\.out_proj.*no effect.*exclude_modules"):
        get_peft_model(model, HRAConfig(r=4, target_modules=["out_proj"]))


def test_fast_path_of_a_transformer_layer_does_not_go_round_the_adapter():
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(2, 3, 16)
    model = nn.ModuleDict({"layer": model})
    config = HRAConfig(r=4, target_modules=["linear1"], init_weights=False)
    ours = get_peft_model(model, config).base_model.model["layer"].eval()
    with torch.no_grad():
        fast = ours(x)
    close(fast, ours(x), 16)
    with torch.no_grad():
        ours.linear1.enable_adapters(False)
        assert not torch.allclose(ours(x), fast)


def test_grouped_convolution_is_refused():
    with pytest.raises(NotImplementedError, match=r"groups > 1.*exclude_modules"):
        layer(nn.Conv2d(4, 8, 3, groups=2))


@pytest.mark.parametrize("base", [nn.Embedding(5, 8), nn.Conv1d(4, 8, 3), nn.Bilinear(4, 8, 3)])
def test_other_modules_are_refused(base):
    with pytest.raises(TypeError, match="not supported"):
        layer(base)


# A layer as an object


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("merged", [False, True])
def test_copies_are_independent_and_equal(copied, merged):
    ours, x = layer(nn.Linear(16, 8).bfloat16()), torch.randn(5, 16).bfloat16()
    if merged:
        ours.merge()
    other = copied(ours)
    assert torch.equal(other(x), ours(x))
    if merged:
        other.unmerge()
        assert ours.merged and not other.merged
    else:
        other.hra_u["default"].data.normal_()
    assert not torch.equal(other(x), ours(x))


def test_same_seed_same_bits():
    def run():
        torch.manual_seed(5)
        ours, x = layer(nn.Linear(64, 32)), torch.randn(9, 64)
        y = ours(x)
        y.square().sum().backward()
        return y, ours.hra_u["default"].grad

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


def test_input_need_not_be_contiguous_nor_have_rows():
    ours = layer(nn.Linear(16, 8))
    x = torch.randn(3, 16, 5)
    close(ours(x.mT), ours(x.mT.contiguous()), 16)
    assert ours(torch.randn(16)).shape == (8,)
    assert ours(torch.randn(0, 16)).shape == (0, 8)


@pytest.mark.parametrize("base", [nn.Linear(16, 8), nn.Conv2d(4, 8, (1, 2), padding="same")])
@pytest.mark.parametrize("apply_GS", [False, True])
def test_compiles_without_a_graph_break(base, apply_GS):
    torch._dynamo.reset()
    ours = layer(copy.deepcopy(base), apply_GS=apply_GS)
    ours.update_layer("other", 2, HRAConfig(r=2, init_weights=False))
    ours.set_adapter(["default", "other"])
    x = torch.randn(5, 16) if isinstance(base, nn.Linear) else torch.randn(2, 4, 5, 6)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    gradients = []
    for module in (ours, compiled):
        ours.zero_grad()
        y = module(x)
        y.square().sum().backward()
        gradients.append((y, *[u.grad.clone() for u in ours.hra_u.values()]))
    for eager, graph in zip(*gradients, strict=True):
        close(graph, eager, 64)


def test_gradient_checkpointing_gives_the_same_gradients():
    ours, x = layer(nn.Linear(16, 8)), torch.randn(5, 16, requires_grad=True)
    u = ours.hra_u["default"]
    plain = torch.autograd.grad(ours(x).square().sum(), (x, u))
    for use_reentrant in (False, True):
        y = torch.utils.checkpoint.checkpoint(ours, x, use_reentrant=use_reentrant)
        y.square().sum().backward()
        for gradient, expected in zip((x.grad, u.grad), plain, strict=True):
            assert torch.equal(gradient, expected)
        x.grad = u.grad = None


def test_torch_func_transforms_work():
    ours, x = layer(nn.Linear(6, 3).double()), torch.randn(5, 6).double()
    name, u = next((n, p) for n, p in ours.named_parameters() if "hra_u" in n)

    def loss(u, x):
        return torch.func.functional_call(ours, {name: u}, (x,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(u.detach(), x)
    loss(u, x).backward()
    close(each.sum(0), u.grad, 6)


def test_narrow_adapter_does_not_narrow_the_merge_of_a_wider_weight():
    base = nn.Linear(16, 8).double()
    ours, x = layer(copy.deepcopy(base)), torch.randn(5, 16).double()
    ours.hra_u["default"] = ours.hra_u["default"].float()
    before, y = ours.weight.clone(), ours(x)
    ours.merge()
    close(ours(x), y, 16, dtype=torch.float32)
    ours.unmerge()
    close(ours.weight, before, 16, dtype=torch.float32)
    ours.hra_u["default"].data[:, 2:] = ours.hra_u["default"].data[:, :2].flip(1)  # H = I
    ours.merge(safe_merge=True)
    close(ours.weight, before, 16, c=0.1, dtype=torch.float32)
