"""Measure what is lost when an adapter of an nf4 weight is merged and the result is quantised again, for HRA and LoRA.

    PYTHONPATH=.venv/quantization python -m benchmarks.requantise [FILE:TENSOR ...]

W is the dequantised weight (out, n), as in training. Both adapters change it by the same relative Frobenius norm: W' is
W H, from the default initialisation with noise, as after some training, or W + B A with random A and B; r = 8. The
columns of the table: the part of the change that is left, ⟨Q(W') − W, W' − W⟩ / ‖W' − W‖², and ‖Q(W') − W'‖ / ‖W‖, both
means over 5 draws. Without arguments: weights of this repository and of the demo's encoder (`make demo`).
"""

import statistics
import sys

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors import safe_open

from hra.reflections import compact

MATRICES = [
    "demo/resources/models/minilm-l6/model.safetensors:encoder.layer.3.intermediate.dense.weight",
    "workflow/word-problems-llama/model.safetensors:model.layers.2.mlp.down_proj.weight",
    "workflow/pictures-sd/unet/diffusion_pytorch_model.safetensors:"
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
]
RANK, DRAWS, SIZES = 8, 5, (0.01, 0.05, 0.2)


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """Quantise a weight in blocks of 64 values, and dequantise it."""
    # As a vector: on a CPU, bitsandbytes 0.50.2 dequantises matrices wrongly whose width is not a multiple of 64.
    return dequantize_4bit(*quantize_4bit(weight.flatten(), blocksize=64, quant_type="nf4")).view(weight.shape)


def hra_change(W: torch.Tensor, size: float) -> torch.Tensor:
    """Compute W H − W of the given size relative to W, from pairs of equal columns with as much noise as that takes."""
    pairs = torch.randn(W.shape[1], RANK // 2).repeat_interleave(2, dim=1)
    noise, least, most = torch.randn_like(pairs), 0.0, 4.0
    for _ in range(50):
        middle = (least + most) / 2
        V, B = compact(pairs + middle * noise)
        change = -(W @ B) @ V.T
        least, most = (middle, most) if change.norm() < size * W.norm() else (least, middle)
    return change


def lora_change(W: torch.Tensor, size: float) -> torch.Tensor:
    """Compute B A of the given size relative to W."""
    change = torch.randn(len(W), RANK) @ torch.randn(RANK, W.shape[1])
    return change * (size * W.norm() / change.norm())


def measure(W: torch.Tensor, change: torch.Tensor) -> tuple[float, float]:
    """Return the part of a change (out, n) that is left after quantising W + change, and the error relative to W."""
    merged = nf4(W + change)
    left = ((merged - W) * change).sum() / change.norm() ** 2
    return left.item(), ((merged - W - change).norm() / W.norm()).item()


def main() -> None:
    print("| weight | change | left: HRA | LoRA | error: HRA | LoRA |\n|---|--:|--:|--:|--:|--:|")
    for name in sys.argv[1:] or MATRICES:
        path, _, tensor = name.partition(":")
        with safe_open(path, "pt") as file:
            W = nf4(file.get_tensor(tensor).float())
        for size in SIZES:
            found = []
            for make in (hra_change, lora_change):
                torch.manual_seed(0)
                pairs = [measure(W, make(W, size)) for _ in range(DRAWS)]
                found.append([statistics.mean(one) for one in zip(*pairs, strict=True)])
            (hra, hra_error), (lora, lora_error) = found
            print(
                f"| {tensor.removesuffix('.weight')}, {len(W)} × {W.shape[1]} | {size:.0%} | {hra:.1%} | {lora:.1%} | "
                f"{hra_error:.2%} | {lora_error:.2%} |"
            )


if __name__ == "__main__":
    main()
