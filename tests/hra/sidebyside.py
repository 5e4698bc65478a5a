"""Stock PEFT's HRA and this package's side by side, on minimal models."""

import copy
import warnings

import torch
from peft import HRAConfig, get_peft_model
from torch import nn

import hra
from hra.checks import saves_biases
from hra.reflections import compact, reflect


class Net(nn.Module):
    """A convolution and two linear layers: x (N, 3, 6, 7) -> (N, 5)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Linear(4 * 42, 12)
        self.second = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.tanh(self.conv(x)).flatten(1)
        return self.second(torch.tanh(self.first(x)))


def llama(blocks: int = 1, **config) -> nn.Module:
    """Build a tiny language model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes | {"num_hidden_layers": blocks} | config))


TARGETS = ["conv", "first", "second"]
FORMS = {"chain": {}, "infinite": {"apply_GS": True}}
BIASES = [bias for bias in ("hra_only", "all") if saves_biases(bias)]


def adapt(model: nn.Module, stock: bool = False, seed: int = 1, **config) -> nn.Module:
    """Copy the model with adapters of `HRAConfig(r=4, random initialisation, **config)`, PEFT's own if `stock`."""
    config = {"r": 4, "target_modules": TARGETS, "init_weights": False} | config
    model = copy.deepcopy(model)
    torch.manual_seed(seed)
    if not stock:
        return get_peft_model(model, config_of(**config))
    hra.uninstall()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's own warning about odd r
        model = get_peft_model(model, HRAConfig(**config))
    hra.install()
    return model


def config_of(**config) -> HRAConfig:
    """Return PEFT's configuration or, with an option that it lacks, this package's."""
    return (hra.HRAConfig if "init_scale" in config else HRAConfig)(**config)


def vectors(model: nn.Module) -> torch.Tensor:
    """Return all vectors of HRA in one tensor."""
    return torch.cat([u.detach().flatten() for name, u in model.named_parameters() if "hra_u" in name])


def layer(base: nn.Module, x: torch.Tensor | None = None, **config):
    """Adapt a single layer."""
    config = {"r": 4, "init_weights": False} | config
    model = get_peft_model(nn.Sequential(base), config_of(target_modules="0", **config))
    return model.base_model.model[0]


def close(actual, expected, n: int, c: float = 8, dtype: torch.dtype | None = None):
    """Assert equality to within c·n·eps of the dtype, relative to the largest entry (at least one)."""
    dtype = dtype or torch.promote_types(actual.dtype, expected.dtype)
    scale = max(1.0, expected.detach().abs().max().item())
    error = (actual.detach().double() - expected.detach().double()).abs().max().item()
    bound = c * n * torch.finfo(dtype).eps * scale
    assert error <= bound, f"error {error:.2e} exceeds {bound:.2e}"


def dense(V, B):
    """Compute H as an (n, n) matrix."""
    return torch.eye(len(V), dtype=V.dtype) - B @ V.mT


def explicit(u, apply_GS=False):
    """Multiply the reflections of u (n, r), or compute I - 2 Q Qᵀ, as matrices (n, n)."""
    H = eye = torch.eye(len(u), dtype=u.dtype)
    if apply_GS:
        Q = torch.linalg.qr(u).Q
        return eye - 2 * Q @ Q.mT
    for column in u.unbind(1):
        H = H @ (eye - 2 * torch.outer(column, column) / (column @ column))
    return H


def adapted_weight(ours, *names, weight=None):
    """Compute W D_1 D_2 from the definition, in the shape of the weight."""
    base = ours.get_base_layer()
    W = (base.weight if weight is None else weight).flatten(1)
    W = W.to(torch.promote_types(W.dtype, ours.hra_u[(names or ["default"])[0]].dtype))
    for name in names or ["default"]:
        W = W @ explicit(ours.hra_u[name], ours.hra_apply_GS[name])
    return W.view(base.weight.shape)


def call(base, x, weight):
    """Call a base layer with another weight, differentiably."""
    return torch.func.functional_call(base, {"weight": weight}, (x,))


def rotated(base: nn.Linear, x, *us):
    """Compute W D_1 D_2 ... x + b from the definition."""
    for u in reversed(us):
        x = reflect(x, *compact(u))
    return base(x)


def trainable(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
