"""Base layers that do more than their class says."""

from torch import nn
from torch.nn.utils import prune as pruning


def double_output(base):
    base.register_forward_hook(lambda module, inputs, output: 2 * output)


def double_input(base):
    base.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))


def double_gradient(base):
    base.register_full_backward_hook(lambda module, inputs, outputs: (None if inputs[0] is None else 2 * inputs[0],))


def patch_forward(base):
    forward = base.forward
    base.forward = lambda x: 2 * forward(x)


def normalise_by_hook(base):
    nn.utils.spectral_norm(base)


def split_by_hook(base):
    nn.utils.weight_norm(base)


def normalise(base):
    nn.utils.parametrizations.spectral_norm(base)


def prune(base):
    pruning.random_unstructured(base, "weight", 0.5)


# functions that change a call, and functions that compute the weight
OBSERVERS = [double_output, double_input, patch_forward]
COMPUTED = [normalise_by_hook, split_by_hook, normalise, prune]
