"""Quantised linear layers: the weight that they multiply by, and the form of it that gradients pass through."""

from __future__ import annotations

import itertools

import torch
from peft.utils.integrations import dequantize_bnb_weight
from torch import nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LINEAR_TO = 0.02  # relative: a layer that rounds its input to int8 is within 1 %, one that misreads it off by 100 %


def is_plain(weight: object) -> bool:
    """Whether this is a floating-point tensor as it is, neither quantised nor sharded."""
    return isinstance(weight, torch.Tensor) and type(weight.data) is torch.Tensor and weight.dtype in FLOATS


def was_repacked(layer: nn.Module) -> bool:
    """Whether bitsandbytes has ever reordered a 4-bit weight for the kernels of a CPU with AVX512-BF16.

    It does so at a layer's first call in evaluation mode, without a word. From then on no gradient passes through the
    layer, and its scales are rounded to bfloat16; `state_dict()` puts the order back, but not the scales.
    """
    return hasattr(getattr(getattr(layer, "weight", None), "quant_state", None), "packing_format_for_cpu")


def keep_differentiable(model: nn.Module) -> None:
    """Keep the 4-bit layers of a model that is to be trained from being repacked by an evaluation in between.

    Raises ValueError if one has been repacked already.
    """
    for name, layer in model.named_modules():
        if was_repacked(layer):
            raise ValueError(
                f"HRA cannot train on {name}: bitsandbytes has repacked its 4-bit weight for this CPU, and no gradient "
                "passes through that. Load the base model again, and add the adapter before the model runs in "
                "evaluation mode."
            )
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


@torch.no_grad()
def dense_weight(layer: nn.Module, n: int, name: str) -> torch.Tensor:
    """The weight (out, n) that a linear layer of n inputs multiplies by, in floating point, whatever it is stored as.

    Weights of bitsandbytes, torchao and HQQ are dequantised. Any other layer shows its weight by what it does to unit
    vectors, up to the rounding of its outputs.

    Raises ValueError, with the layer's `name`, if the exact weight is not to be had.
    """
    weight = getattr(layer, "weight", None)
    if was_repacked(layer):
        raise ValueError(
            f"expected the weight of {name} as it was quantised, found it repacked by bitsandbytes for this CPU, which "
            "has rounded its scales. Load base model and adapter again, and export before the model runs in evaluation "
            "mode."
        )
    if is_plain(weight) and weight.dim() == 2 and weight.shape[1] == n:  # and not flattened, as FSDP does
        return weight
    if type(weight).__name__ in ("Params4bit", "Int8Params"):
        return dequantize_bnb_weight(weight, state=getattr(layer, "state", None))
    if type(weight).__module__.startswith("torchao."):
        return weight.dequantize()
    if hasattr(layer, "W_q"):
        return layer.dequantize()
    return _probe(layer, n, name)


def _probe(layer: nn.Module, n: int, name: str) -> torch.Tensor:
    device = next((tensor.device for tensor in itertools.chain(layer.parameters(), layer.buffers())), None)
    bias = layer(torch.zeros(1, n, device=device))
    transposed = layer(torch.eye(n, device=device)) - bias
    x = torch.arange(4.0 * n, device=device).sin().view(4, n)
    expected = x @ transposed.to(x.dtype)
    if not (layer(x) - bias - expected).norm() <= LINEAR_TO * expected.norm():
        raise ValueError(
            f"the weight of {name} ({type(layer).__name__}) cannot be read exactly: its outputs are not those of one "
            "matrix. Load the base model unquantised, and export from that."
        )
    return transposed.mT
