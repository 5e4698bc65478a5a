"""Effective weights of quantised linear layers, and a switch that keeps these layers differentiable."""

import sys
from typing import Any, TypeGuard

import torch
from peft.utils.integrations import dequantize_bnb_weight
from torch import nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def is_plain(weight: object) -> TypeGuard[torch.Tensor]:
    """Return whether this is a plain floating-point tensor, neither quantised nor sharded."""
    if type(weight) is nn.Parameter or type(weight) is torch.Tensor:  # first, since layers check it in every call
        return weight.dtype in FLOATS
    return isinstance(weight, torch.Tensor) and weight.dtype in FLOATS and type(weight.data) is torch.Tensor


def is_partitioned(tensor: Any) -> bool:
    """Return whether DeepSpeed's ZeRO-3 has emptied a parameter, which it does between forward passes."""
    return hasattr(tensor, "ds_shape") and tensor.shape != tensor.ds_shape


def is_cast_by_hooks(layer: nn.Module) -> bool:
    """Return whether this is torch's own layer with an unscaled weight, which may have 8 bits until a hook casts it.

    diffusers' layerwise casting uses such hooks. Quantised layers with a scale have other classes.
    """
    weight: Any = getattr(layer, "weight", None)
    return type(layer) in (nn.Linear, nn.Conv2d) and type(weight.data) is torch.Tensor and weight.is_floating_point()


def was_repacked(layer: nn.Module) -> bool:
    """Return whether bitsandbytes has ever repacked a 4-bit weight for the kernels of a CPU with AVX512-BF16.

    It does so silently at a layer's first call in evaluation mode. Afterwards no gradient passes through the layer, and
    its scales are rounded to bfloat16; `state_dict()` restores the order, but not the scales.
    """
    return hasattr(getattr(getattr(layer, "weight", None), "quant_state", None), "packing_format_for_cpu")


def keep_differentiable(model: nn.Module) -> None:
    """Prevent the 4-bit layers of a model in training from being repacked by an intermediate evaluation.

    Raises ValueError if a layer has already been repacked, or has transformers' FP8 weights and no backward pass.
    """
    for name, layer in model.named_modules():
        home = type(layer).__module__
        is_float8 = home == "transformers.integrations.finegrained_fp8" and not isinstance(layer, nn.Embedding)
        if is_float8 and not hasattr(sys.modules[home], "FP8LinearFunction"):
            raise ValueError(
                f"HRA cannot train through {name}: {type(layer).__name__} of transformers before 5.22 has no backward "
                "pass. Load the base model with `FineGrainedFP8Config(dequantize=True)`, or install transformers 5.22."
            )
        if was_repacked(layer):
            raise ValueError(
                f"HRA cannot train on {name}: bitsandbytes has repacked its 4-bit weight for this CPU, which blocks "
                "gradients. Load the base model again, and add the adapter before the model runs in evaluation mode."
            )
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


@torch.no_grad()
def dense_weight(layer: Any, n: int, name: str) -> torch.Tensor:
    """Return the floating-point weight (out, n) of a linear layer with n inputs, stored in any format.

    Weights of bitsandbytes, torchao and HQQ are dequantised. Raises ValueError, with the layer's `name`, for others.
    """
    weight: Any = getattr(layer, "weight", None)
    if was_repacked(layer):
        raise ValueError(
            f"expected the originally quantised weight of {name}, found it repacked by bitsandbytes for this CPU, with "
            "rounded scales. Load base model and adapter again, and export before the model runs in evaluation mode."
        )
    if (is_plain(weight) or is_cast_by_hooks(layer)) and weight.dim() == 2 and weight.shape[1] == n:  # FSDP flattens it
        return weight
    if type(weight).__name__ in ("Params4bit", "Int8Params"):
        return dequantize_bnb_weight(weight, state=getattr(layer, "state", None))
    if type(weight).__module__.startswith("torchao."):
        return weight.dequantize()
    if hasattr(layer, "W_q"):
        return layer.dequantize()
    raise ValueError(
        f"expected a weight of {name} that can be dequantised (bitsandbytes, torchao, HQQ), found one of "
        f"{type(layer).__name__}. Load the base model without quantisation and sharding, and export from that."
    )
