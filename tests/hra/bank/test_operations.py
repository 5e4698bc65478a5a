"""Operations, memory, and what cannot be stacked."""

import pytest
import torch
from blocks import alone, gradients
from dispatches import added
from peft import LoraConfig
from sidebyside import adapt
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hra import HRAConfig, bank
from hra.base_layer import HRALayer

# Operations


def test_operations_of_a_layer():
    forward, backward, inference = added(HRAConfig(r=4))
    assert forward <= 3 and backward <= 5 and inference <= 2
    lora = added(LoraConfig(r=4))
    assert forward < lora[0] and backward < lora[1] and inference < lora[2]


def test_operations_of_a_layer_with_infinite_lambda_none_of_which_synchronises():
    forward, backward, inference = added(HRAConfig(r=4, apply_GS=True))
    assert forward <= 4.5 and backward <= 5 and inference <= 2


def test_no_operation_of_a_step_synchronises(ours, x):
    """On a GPU these wait for its results: a number is read, or a factorisation checks for errors."""
    waiting = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_linalg_check_errors", "_linalg_eigh"}
    waiting |= {"linalg_cholesky", "linalg_inv", "_linalg_svd", "_linalg_solve_ex", "linalg_eigh", "item"}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            assert function.overloadpacket.__name__ not in waiting
            return function(*arguments, **(keywords or {}))

    with Watch():
        gradients(ours, x)
        alone(gradients, ours, x)
    assert any(isinstance(m, HRALayer) for m in ours.modules())


# Memory, and what cannot be stacked


def test_no_more_is_kept_for_the_backward_pass_than_V_and_B_of_all_layers(ours, x):
    def kept():
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = ours(x)
        return sum(sizes.values()), y

    us = sum(p.numel() * p.element_size() for name, p in ours.named_parameters() if "hra_u" in name)
    assert kept()[0] - alone(kept)[0] <= 2 * us
    assert bank.current() is None  # nothing else refers to it


def test_a_layer_on_its_own_keeps_no_B_for_the_backward_pass():
    ours = adapt(nn.Sequential(nn.Linear(64, 8)), r=4, target_modules=["0"])
    x, shapes = torch.randn(3, 64, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: shapes.append((one.data_ptr(), one.shape)) or one, id):
        y = ours(x)
    (u,) = (p for p in ours.parameters() if p.requires_grad)
    assert y.shape == (3, 8) and {(u.data_ptr(), u.shape)} == {one for one in shapes if one[1] == (64, 4)}


@pytest.mark.parametrize("mark", ["ds_id", "_is_fsdp_managed_module"], ids=["ZeRO-3", "FSDP"])
def test_sharded_layers_compute_their_own_in_every_pass(ours, x, stacks, mark):
    layers = [module for module in ours.modules() if isinstance(module, HRALayer)]
    for layer in layers:
        for part in layer.parameters() if mark == "ds_id" else [layer]:
            setattr(part, mark, True)
    gradients(ours, x)
    assert not stacks
