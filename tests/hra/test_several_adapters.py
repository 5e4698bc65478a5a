"""Several adapters of a layer, merges, copies, and adapters in narrow dtypes."""

import copy
import itertools
import pickle

import pytest
import torch
from peft import HRAConfig
from sidebyside import adapt, adapted_weight, call, close, layer, llama
from torch import nn

BASES = {
    "linear": lambda: nn.Linear(12, 8),
    "conv": lambda: nn.Conv2d(4, 8, 2, padding=1),
    "groups": lambda: nn.Conv2d(4, 8, 2, groups=2),
}


@pytest.fixture(params=BASES)
def base(request):
    return BASES[request.param]()


def data(base, dtype=torch.float32, count=6):
    return torch.randn((count, 12) if isinstance(base, nn.Linear) else (count, 4, 5, 6)).to(dtype)


def three(base):
    """Adapt a layer by three adapters."""
    ours = layer(copy.deepcopy(base))
    for name, r in (("other", 2), ("third", 3)):
        ours.update_layer(name, r, HRAConfig(r=r, init_weights=False))
    return ours.eval()


@pytest.mark.parametrize("names", list(itertools.permutations(["default", "other", "third"])))
def test_several_active_adapters_equal_one_merge_after_the_other(base, names):
    base = base.double()
    ours, x = three(base), data(base, torch.float64)
    ours.set_adapter(list(names))
    before, W = ours.weight.clone(), adapted_weight(ours, *names)
    expected = call(base, x, W)
    close(ours(x), expected, 64)
    for i, name in enumerate(names):
        if i:
            with pytest.warns(UserWarning, match="additionally merging"):
                ours.merge(adapter_names=[name])
        else:
            ours.merge(adapter_names=[name])
        close(ours.weight, adapted_weight(ours, *names[: i + 1], weight=before), 64)
    ours.hra_u["default"].data.normal_()  # what was merged is undone
    close(ours(x), expected, 64)
    ours.enable_adapters(False)
    close(ours(x), base(x), 64)
    ours.unmerge()
    close(ours.weight, before, 64)


def test_adapters_that_are_merged_at_once_keep_their_order(base):
    ours = three(base.double())
    expected = adapted_weight(ours, "other", "default")
    ours.merge(adapter_names=["other", "default"])
    close(ours.weight, expected, 64)


def test_safe_merge_finds_NaN_and_leaves_the_weight(base):
    ours = three(base)
    before = ours.weight.clone()
    ours.hra_u["default"].data[3] = torch.nan
    with pytest.raises(ValueError, match="NaNs detected"):
        ours.merge(safe_merge=True)
    assert torch.equal(ours.weight, before) and not ours.merged


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_its_own_parameters(base, copied):
    ours, x = three(base.bfloat16()), data(base, torch.bfloat16)
    other, before = copied(ours), ours(x)
    assert torch.equal(other(x), before)
    other.hra_u["default"].data.normal_()
    assert torch.equal(ours(x), before) and not torch.equal(other(x), before)
    ours.merge()
    merged = copied(ours)
    merged.unmerge()
    assert torch.equal(merged.weight, base.weight) and ours.merged and not torch.equal(ours.weight, base.weight)


# Dtypes


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize(
    ("base_dtype", "dtype"),
    [(one, other) for one in (torch.bfloat16, torch.float16) for other in (one, torch.float32)]
    + [(torch.float32, torch.bfloat16)],
)
def test_outputs_have_the_dtype_of_the_input_and_parameters_are_float32(base, base_dtype, dtype, needed):
    ours, x = layer(base.to(base_dtype)), data(base, dtype).requires_grad_(needed)
    expected, narrow = copy.deepcopy(ours).double(), torch.float16 if base_dtype == torch.float16 else torch.bfloat16
    z, exact = ours(x), call(expected.base_layer, x.double(), adapted_weight(expected))
    close(z, exact, 8, dtype=narrow)
    z.float().square().sum().backward()
    exact.square().sum().backward()
    trained = [(p, q) for p, q in zip(ours.parameters(), expected.parameters(), strict=True) if p.requires_grad]
    assert z.dtype == dtype and {p.grad.dtype for p, _ in trained} == {torch.float32}
    for p, q in trained:
        close(p.grad / q.grad.abs().max(), q.grad / q.grad.abs().max(), 16, dtype=narrow)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("init_scale", [1e-3, 1 / 16])
def test_a_model_that_is_cast_afterwards(dtype, init_scale):
    """Also with columns so short that the square of their length is out of range."""
    base = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 8))
    model, x = adapt(base, target_modules=["0", "2"], init_scale=init_scale), torch.randn(5, 12)
    expected = model(x)
    model.to(dtype)
    z = model(x.to(dtype))
    assert z.dtype == dtype and {p.dtype for p in model.parameters()} == {dtype}
    close(z, expected, 4, dtype=torch.float32 if dtype == torch.float64 else dtype)


@pytest.mark.parametrize("change", [nn.ReLU(inplace=True), lambda z: z.add_(z.detach())], ids=["ReLU", "sum"])
@pytest.mark.parametrize("shape", [(5, 12), (2, 5, 12)])
@pytest.mark.parametrize("hook", [None, lambda *_: None], ids=["", "hooked"])  # a base layer that has to be called
def test_outputs_that_the_model_changes_in_place(change, shape, hook):
    ours, x = layer(nn.Linear(12, 8, dtype=torch.float64)), torch.randn(shape).double()
    if hook is not None:
        ours.base_layer.register_forward_hook(hook)
    us = [p for p in ours.parameters() if p.requires_grad]
    expected = torch.autograd.grad(change(ours(x) + 0).square().sum(), us)
    for found, other in zip(torch.autograd.grad(change(ours(x)).square().sum(), us), expected, strict=True):
        close(found, other, 32)


def test_no_rows_have_no_gradient():
    ours = layer(nn.Linear(12, 8))
    for x in (torch.randn(0, 12), torch.randn(0, 12, requires_grad=True), torch.randn(2, 0, 12)):
        ours.zero_grad()
        ours(x).sum().backward()
        assert all(not p.grad.any() for p in ours.parameters() if p.requires_grad)
    assert ours(torch.randn(12)).shape == (8,)


def test_decoding_with_a_cache_gives_the_tokens_of_the_merged_model():
    model = adapt(llama(2, initializer_range=0.3), target_modules="all-linear").eval()
    tokens = torch.randint(0, 50, (3, 4))
    model.generation_config.pad_token_id = 0
    options = {"max_new_tokens": 12, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    ours, plain = (model.generate(input_ids=tokens, use_cache=cached, **options) for cached in (True, False))
    merged = model.merge_and_unload().generate(input_ids=tokens, **options)
    assert len(ours.sequences[0].unique()) > 3
    for other in (plain, merged):
        assert torch.equal(ours.sequences, other.sequences)
        close(torch.stack(ours.logits), torch.stack(other.logits), 24)
