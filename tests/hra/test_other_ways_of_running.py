"""Ways of running a model that follow each operation, or exchange its parameters: tracing, AD, offloading."""

import copy

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from peft import HRAConfig, get_peft_model
from sidebyside import FORMS, adapt, close, layer
from torch import nn
from torch.autograd import forward_ad

import hra

in_each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
BASES = {"linear": (nn.Linear(16, 8), (5, 16)), "convolution": (nn.Conv2d(3, 4, 3), (2, 3, 6, 6))}


@pytest.fixture(params=BASES)
def adapted(request):
    """Return a function from a configuration to a model of one layer, and its input."""
    base, shape = BASES[request.param]
    return lambda **config: adapt(nn.Sequential(base), target_modules=["0"], **config), torch.randn(shape)


@in_each_form
@pytest.mark.parametrize("needed", [True, False])
def test_a_trace_has_the_outputs_of_the_model(adapted, form, needed):
    build, x = adapted
    model = build(**form)
    with torch.set_grad_enabled(needed):
        traced = torch.jit.trace(model, x)  # which compares it with a second trace, without gradients
        close(traced(2 * x), model(2 * x), 27)


@in_each_form
@pytest.mark.parametrize("needed", [True, False])
def test_forward_mode_AD_gives_the_directional_derivative(form, needed):
    ours, x = layer(nn.Linear(16, 8).double(), **form), torch.randn(5, 16).double()
    at = {name: p.detach().clone() for name, p in ours.named_parameters() if p.requires_grad} | {"x": x}
    for of, value in at.items():
        direction = torch.randn_like(value)

        def call(value, of=of):
            *parameters, (_, x) = (at | {of: value}).items()
            return torch.func.functional_call(ours, dict(parameters), (x,))

        with torch.no_grad():
            expected = (call(value + 1e-6 * direction) - call(value - 1e-6 * direction)) / 2e-6
        with torch.set_grad_enabled(needed), forward_ad.dual_level():
            tangent = forward_ad.unpack_dual(call(forward_ad.make_dual(value, direction))).tangent
        torch.testing.assert_close(tangent, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("offload", [disk_offload, cpu_offload])
def test_an_offloaded_model_computes_exports_and_merges(adapted, offload, tmp_path):
    build, x = adapted
    model = build()
    expected, lora = model(x), hra.to_lora(model)[1]
    where = {"offload_dir": tmp_path} if offload is disk_offload else {}
    offload(model, **where, execution_device=torch.device("cpu"))
    for needed in (True, False):
        with torch.set_grad_enabled(needed):
            close(model(x), expected, 27)
    assert all(torch.equal(one, lora[name]) for name, one in hra.to_lora(model)[1].items())
    close(model.merge_and_unload()(x), expected, 27)


def test_float8_that_hooks_cast_gives_the_outputs_of_the_rounded_weights():
    """diffusers' layerwise casting, applied before or after the adapters."""
    from diffusers.hooks import apply_layerwise_casting

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 5))

    base, x = Net(), torch.randn(2, 3, 6, 6)
    for parameter in base.parameters():
        parameter.data = parameter.data.to(torch.float8_e4m3fn).float()
    ours = adapt(base, target_modules=["0", "2"])
    expected, lora = ours(x), hra.to_lora(ours)[1]
    for first in (True, False):
        again = copy.deepcopy(base)
        if first:
            apply_layerwise_casting(again, torch.float8_e4m3fn, torch.float32)
        torch.manual_seed(1)  # as in `adapt`, which copies: a copy's hooks would cast the original
        again = get_peft_model(again, HRAConfig(r=4, target_modules=["0", "2"], init_weights=False))
        if not first:
            apply_layerwise_casting(again.get_base_model(), torch.float8_e4m3fn, torch.float32)
        assert again.get_base_model()[0].base_layer.weight.dtype == torch.float8_e4m3fn
        with torch.no_grad():
            close(again(x), expected, 64)
        for name, factor in hra.to_lora(again)[1].items():
            close(factor, lora[name], 64)
        with pytest.raises(TypeError, match="merge into 0: expected a plain floating-point weight"):
            again.merge_adapter()


def test_PEFT_loads_no_LoRA_on_the_output_projection_of_Mamba():
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 9, "hidden_size": 8, "state_size": 2, "num_hidden_layers": 1}
    model = adapt(MambaForCausalLM(MambaConfig(**sizes)), target_modules=["out_proj", "in_proj"])
    with pytest.raises(ValueError, match=r"mixer\.out_proj: PEFT loads no LoRA .* type mamba.*Merge the adapter"):
        hra.to_lora(model)
