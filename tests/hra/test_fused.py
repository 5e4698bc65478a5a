"""A linear layer with a frozen weight as one autograd function, against its base layer called as a black box."""

import pytest
import torch
from sidebyside import EXTENDED, adapt, close
from torch import nn

FORMS = {"plain": {}, **EXTENDED}


def adapted(form, bias=True):
    """Adapt two layers, whose inputs share a stack of the bank; each output side has U, U and T."""
    base = nn.Sequential(nn.Linear(12, 12, bias=bias), nn.Linear(12, 7, bias=bias)).double()
    return adapt(base, target_modules=["0", "1"], **FORMS[form])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", ["none", "frozen", "trained"])
@pytest.mark.parametrize("shape", [(12,), (5, 12), (2, 3, 12), (2, 256, 12)])
def test_outputs_and_gradients_of_first_and_second_order(form, bias, shape):
    model = adapted(form, bias != "none")
    layers = list(model.base_model.model)
    if bias == "trained":
        for layer in layers:
            layer.base_layer.bias.requires_grad_(True)
    x = torch.randn(shape, dtype=torch.float64)

    def results(needed, function):
        inputs = [p for p in (x.clone().requires_grad_(needed), *model.parameters()) if p.requires_grad]
        y = model(inputs[0] if needed else x)
        assert (y.grad_fn.name() == "_LinearBackward") == (function == "fused")
        first = torch.autograd.grad(y.tanh().square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first), inputs)
        plain = torch.autograd.grad(model(inputs[0] if needed else x).tanh().square().sum(), inputs)
        with torch.no_grad():
            return [y, *first, *second, *plain, model(x)]

    fused = [results(needed, "fused") for needed in (False, True)]
    for layer in layers:
        layer.base_layer.register_forward_hook(lambda *_: None)
    for needed in (False, True):
        for one, other in zip(fused[needed], results(needed, "black box"), strict=True):
            close(one, other, 12, c=64)


@pytest.mark.parametrize("rows", [50, 512])
def test_one_vector_of_activations_is_kept_per_layer_and_row(rows):
    """Or none, for many rows without δ; and the inputs, which LoRA keeps too, and r numbers for each side."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    for form in EXTENDED:
        model, x = adapted(form), torch.randn(rows, 12, dtype=torch.float64, requires_grad=True)
        sizes.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            z = model(x)
        of_rows = sum(size for size in sizes.values() if size % rows == 0)
        r = 4 * (1 + (form != "magnitudes"))
        y = 12 + 7 if rows < 512 or form != "two sides" else 0
        assert of_rows == rows * (12 + 12 + 2 * r + y) and z.requires_grad
