"""Layers and blocks of the models in PEFT's benchmarks, at their sizes, with the benchmarks' r = 32.

Llama-3.2-3B: its queries and values, and a decoder block with adapters on both, on 768 tokens, the benchmark's
longest. FLUX.2-klein-4B: a double-stream and a single-stream block on the tokens of a prompt and of an image of
512 x 512 pixels, with adapters on the benchmark's layers. PEFT's HRA is excluded: its n x n matrices would take hours.
"""

import torch
from torch import nn

from benchmarks.cases import DTYPES, WITHOUT_PEFT, Case, embeddings, llama_model

R = 32
LLAMA = {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24, "num_key_value_heads": 8}
ROPE = (32, 32, 32, 32)
STREAMS = {  # the layers that PEFT's image benchmark adapts
    "double-stream": [
        *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("linear_in", "linear_out"),
    ],
    "single-stream": ["to_qkv_mlp_proj"],
}


def layer(name: str, inputs: int, outputs: int, dtype: torch.dtype, tokens: int = 768) -> Case:
    def build() -> tuple[nn.Module, torch.Tensor]:
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False)), torch.randn(tokens, inputs)

    size = f"{inputs}x{outputs} {tokens} tokens"
    return Case(f"blocks llama-3.2-3b {name}", size, build, ["0"], R, dtype, kinds=WITHOUT_PEFT)


def decoder(dtype: torch.dtype, tokens: int = 768, sizes: dict = LLAMA) -> Case:
    def build() -> tuple[nn.Module, torch.Tensor]:
        return llama_model(1, sizes), torch.randn(1, tokens, sizes["hidden_size"])

    targets = ["q_proj", "v_proj"]
    name = "blocks llama-3.2-3b decoder block"
    return Case(name, f"{tokens} tokens", build, targets, R, dtype, call=embeddings, kinds=WITHOUT_PEFT)


class Stream(nn.Module):
    """A block of a FLUX.2 transformer on `text` tokens of a prompt, followed by those of a square image."""

    def __init__(self, stream: str, text: int, side: int, heads: int):
        from diffusers.models.transformers import transformer_flux2 as flux2

        super().__init__()
        double, width = stream == "double-stream", heads * sum(ROPE)
        block = flux2.Flux2TransformerBlock if double else flux2.Flux2SingleTransformerBlock
        self.block, self.text, self.double = block(width, heads, sum(ROPE)), text, double
        zero, one = torch.arange(1), torch.arange(side)
        places = [
            torch.cartesian_prod(zero, zero, zero, torch.arange(text)),
            torch.cartesian_prod(zero, one, one, zero),
        ]
        cosines, sines = flux2.Flux2PosEmbed(theta=2000, axes_dim=ROPE)(torch.cat(places))
        self.register_buffer("cosines", cosines)
        self.register_buffer("sines", sines)
        self.register_buffer("modulation", torch.randn(1, width * 3 * (1 + double)) / 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (1, tokens, width) to the same shape."""
        rotary = {"image_rotary_emb": (self.cosines, self.sines)}
        if not self.double:
            return self.block(x, None, self.modulation, **rotary)
        text, image = x[:, : self.text], x[:, self.text :]
        return torch.cat(self.block(image, text, self.modulation, self.modulation, **rotary), 1)


def flux2(stream: str, dtype: torch.dtype, text: int = 512, side: int = 32, heads: int = 24) -> Case:
    def build() -> tuple[nn.Module, torch.Tensor]:
        return Stream(stream, text, side, heads), torch.randn(1, text + side * side, heads * sum(ROPE))

    name, size = f"blocks flux.2-klein-4b {stream} block", f"{text} + {side * side} tokens"
    return Case(name, size, build, STREAMS[stream], R, dtype, kinds=WITHOUT_PEFT)


STEPS = [
    case
    for dtype in DTYPES
    for case in (
        layer("q_proj", 3072, 3072, dtype),
        layer("v_proj", 3072, 1024, dtype),
        decoder(dtype),
        *(flux2(stream, dtype) for stream in STREAMS),
    )
]
