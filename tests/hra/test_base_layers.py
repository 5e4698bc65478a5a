"""Base layers without a plain weight, and those that do more than their class says."""

import copy

import pytest
import torch
from modified import COMPUTED, OBSERVERS, double_gradient
from peft import HRAConfig, get_peft_model
from sidebyside import close, layer, rotated
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.integrations import finegrained_fp8

import hra

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


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_layers_packed_by_torch_are_refused():
    packed = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(16, 8)), {nn.Linear})
    message = r"HRA cannot adapt 0: .* found torch\.ao\..*dynamic.*\.Linear, which .* quantise after `merge_and_unload`"
    with pytest.raises(TypeError, match=message):
        get_peft_model(packed, HRAConfig(r=4, target_modules=["0"]))


@pytest.fixture
def float8_model():
    """Build transformers' layer with weights of 8 bits and scales of blocks, whose kernels need a GPU."""
    float8 = finegrained_fp8.FP8Linear(16, 8, block_size=(4, 8))
    float8.weight.data.copy_(torch.randn(8, 16))
    nn.init.uniform_(float8.weight_scale_inv)
    return nn.Sequential(float8)


def test_float8_layers_without_a_backward_pass_are_refused(float8_model, monkeypatch):
    monkeypatch.delattr(finegrained_fp8, "FP8LinearFunction", raising=False)  # as in transformers 5.21
    with pytest.raises(
        ValueError, match=r"cannot train through 0: FP8Linear .*FineGrainedFP8Config\(dequantize=True\)"
    ):
        get_peft_model(float8_model, HRAConfig(r=4, target_modules=["0"]))


@pytest.mark.skipif(not hasattr(finegrained_fp8, "FP8Embedding"), reason="transformers before 5.21")
def test_a_float8_embedding_needs_no_backward_pass(monkeypatch):
    monkeypatch.delattr(finegrained_fp8, "FP8LinearFunction", raising=False)
    base = nn.Sequential(finegrained_fp8.FP8Embedding(10, 16), nn.Linear(16, 8))
    model = get_peft_model(base, HRAConfig(r=4, target_modules=["1"]))
    assert model.base_model.model[1].hra_u["default"].requires_grad


@pytest.mark.skipif(not hasattr(finegrained_fp8, "FP8LinearFunction"), reason="transformers before 5.22")
def test_float8_layers_pass_gradients(float8_model, monkeypatch):
    def on_a_cpu(x, weight, scale, block_size, *others):
        return x @ finegrained_fp8._dequantize_fp8_weight(weight, scale, block_size, x.dtype).mT

    monkeypatch.setattr(finegrained_fp8, "fp8_linear", on_a_cpu)
    plain, x = nn.Linear(16, 8, bias=False), torch.randn(5, 16)
    plain.weight.data = on_a_cpu(torch.eye(16), float8_model[0].weight, float8_model[0].weight_scale_inv, (4, 8)).mT
    gradients = []
    for base in (float8_model[0], plain):
        torch.manual_seed(1)
        ours = layer(base)
        ours(x).square().sum().backward()
        gradients.append(ours.hra_u["default"].grad)
    close(*gradients, 16)


@pytest.mark.parametrize(
    ("base", "shape"), [(nn.Linear(16, 8), (5, 16)), (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 5, 5))]
)
def test_no_gradient_comes_back_through_the_base_to_an_input_that_needs_none(base, shape):
    class Shapes(TorchDispatchMode):
        found = ()

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            results = function(*arguments, **(keywords or {}))
            if not function.is_view:
                self.found += tuple(one.shape for one in tree_leaves(results) if isinstance(one, torch.Tensor))
            return results

    ours = layer(base)
    for needed in (False, True):
        y = ours(torch.randn(shape, requires_grad=needed)).sum()
        with Shapes() as shapes:
            y.backward()
        assert (shape in shapes.found) == needed and ours.hra_u["default"].grad.ne(0).any()


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
