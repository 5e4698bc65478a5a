"""Benchmark cases: a frozen model, and the same model with PEFT's adapters and with this package's HRA.

A case builds one base model; all kinds share its weights. A step is a forward and a backward pass that also
computes the gradient of the input, as in the middle of a network.
"""

import copy
import importlib
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import nn

import hra
from benchmarks.other_peft import OtherPackages

KINDS = ("frozen", "lora", "peft", "hra")
next_peft: OtherPackages | None = None  # the other PEFT, whose HRA is the kind `next`
# A full model with PEFT's HRA at r = 32 keeps r dense matrices per layer: DeBERTa-base ran out of memory at 24 GiB.
WITHOUT_PEFT = tuple(kind for kind in KINDS if kind != "peft")
Step = Callable[[], None]


@dataclass
class Case:
    """`build()` returns a module and a (random) input; `targets` are the layers to adapt."""

    group: str
    size: str
    build: Callable[[], tuple[nn.Module, torch.Tensor]]
    targets: list[str]
    r: int = 8
    dtype: torch.dtype = torch.float32
    call: Callable[[nn.Module, torch.Tensor], torch.Tensor] = field(default=lambda model, x: model(x))
    kinds: tuple[str, ...] = KINDS
    apply_GS: bool = False  # λ = ∞
    inference: bool = False  # a forward pass without gradients instead of a training step
    device: str = "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def name(self) -> str:
        return f"{self.group} {self.size} r{self.r} {str(self.dtype).removeprefix('torch.')}"

    def steps(self, kinds: tuple[str, ...] = ()) -> dict[str, Step]:
        """Prepare a training step per kind for timing."""
        base, x = self.base()
        return {kind: self.step(adapt(base, kind, self), x) for kind in kinds or with_next(self.kinds)}

    def merges(self, kinds: tuple[str, ...]) -> dict[str, Step]:
        """Prepare merging and unmerging per kind for timing."""
        base, _ = self.base()
        models = {kind: adapt(base, kind, self) for kind in kinds}

        def step(model: nn.Module) -> Step:
            def merge_and_unmerge() -> None:
                model.merge_adapter()
                model.unmerge_adapter()

            return merge_and_unmerge

        return {kind: step(model) for kind, model in models.items()}

    def base(self) -> tuple[nn.Module, torch.Tensor]:
        torch.manual_seed(0)
        model, x = self.build()
        return model.to(self.device, self.dtype).requires_grad_(False), x.to(self.device, self.dtype)

    def step(self, model: nn.Module, x: torch.Tensor) -> Step:
        x = x.detach().requires_grad_()
        gradient: list[torch.Tensor] = []

        @torch.no_grad()
        def infer() -> None:
            self.call(model, x)

        def step() -> None:
            x.grad = None
            model.zero_grad()
            y = self.call(model, x)
            if not gradient:
                gradient.append(torch.randn_like(y))
            y.backward(gradient[0])

        return infer if self.inference else step


def adapt(base: nn.Module, kind: str, case: Case) -> nn.Module:
    """Add adapters of one kind to the base model, and share its weights.

    `oft` and `boft` have about as many parameters as `hra`, and DoRA one more per output than LoRA.
    """
    shared = itertools.chain(base.parameters(), base.buffers())
    model = copy.deepcopy(base, {id(tensor): tensor for tensor in shared})
    if kind == "frozen":
        return model
    hra.uninstall()
    if kind == "hra":
        hra.install()
    with next_peft if kind == "next" and next_peft else nullcontext():
        peft = importlib.import_module("peft")
        if kind in ("lora", "dora"):
            config = peft.LoraConfig(r=case.r, lora_alpha=2 * case.r, use_dora=kind == "dora")
        elif kind == "oft":
            config = peft.OFTConfig(r=0, oft_block_size=2 * case.r)
        elif kind == "boft":
            config = peft.BOFTConfig(boft_block_size=case.r, boft_n_butterfly_factor=2)
        else:
            config = peft.HRAConfig(r=case.r, apply_GS=case.apply_GS)
        config.target_modules = case.targets
        model = peft.get_peft_model(model, config)
    hra.uninstall()
    return model


def with_next(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Add the other PEFT's HRA, if there is one, before this package's."""
    return (*kinds[:-1], "next", kinds[-1]) if next_peft else kinds


def linear(d: int, tokens: int, r: int, dtype: torch.dtype) -> Case:
    def build() -> tuple[nn.Module, torch.Tensor]:
        return nn.Sequential(nn.Linear(d, d)), torch.randn(tokens, d)

    return Case("linear", f"{d}x{d} {tokens} tokens", build, ["0"], r, dtype)


def conv(channels: int, side: int, r: int, batch: int = 1) -> Case:
    def build() -> tuple[nn.Module, torch.Tensor]:
        model = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1))
        return model, torch.randn(batch, channels, side, side)

    return Case("conv2d", f"{channels} channels 3x3 {batch}x{side}x{side}", build, ["0"], r)


def embeddings(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(inputs_embeds=x).last_hidden_state


DEBERTA_V3_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}  # and the class's defaults


def deberta(r: int = 8, batch: int = 4, tokens: int = 128) -> Case:
    """Build DeBERTaV3-base without its embedding table (irrelevant here), with every linear layer adapted."""

    def build() -> tuple[nn.Module, torch.Tensor]:
        from transformers import DebertaV2Config, DebertaV2Model

        model = DebertaV2Model(DebertaV2Config(**DEBERTA_V3_BASE, vocab_size=100)).eval()
        return model, torch.randn(batch, tokens, 768)

    targets = ["query_proj", "key_proj", "value_proj", "dense"]
    return Case("deberta-base", f"{batch}x{tokens} tokens", build, targets, r, call=embeddings)


LLAMA2_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}


def llama_model(layers: int, sizes: dict[str, int]) -> nn.Module:
    """Build a LLaMA whose embedding table, irrelevant here, is small."""
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(LlamaConfig(vocab_size=100, use_cache=False, num_hidden_layers=layers, **sizes)).eval()


def llama(r: int = 8, tokens: int = 512) -> Case:
    """Build two layers of LLaMA2-7B with adapted queries and values, as in the paper."""

    def build() -> tuple[nn.Module, torch.Tensor]:
        return llama_model(2, LLAMA2_7B), torch.randn(1, tokens, 4096)

    targets = ["q_proj", "v_proj"]
    return Case("llama 2 layers", f"{tokens} tokens", build, targets, r, call=embeddings)


def decode(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    from transformers import DynamicCache

    if not hasattr(model, "past"):
        model.past = DynamicCache()
        model(inputs_embeds=x.expand(-1, CONTEXT, -1), past_key_values=model.past, use_cache=True)
    y = model(inputs_embeds=x, past_key_values=model.past, use_cache=True).last_hidden_state
    model.past.crop(-1)
    return y


def small(batch: int, tokens: int, apply_GS: bool = False) -> Case:
    """Build a LLaMA of 12 blocks and width 576 with all seven linear layers adapted; one token: cached decoding."""

    def build() -> tuple[nn.Module, torch.Tensor]:
        sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9}
        return llama_model(12, sizes), torch.randn(batch, tokens, 576)

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    size = f"{batch}x{tokens} tokens{', λ=∞' if apply_GS else ''}"
    one = tokens == 1
    call = decode if one else embeddings
    return Case("small-llama", size, build, targets, 8, call=call, apply_GS=apply_GS, inference=one)


def unet(batch: int = 2, width: int = 160, side: int = 16) -> Case:
    """Build Stable Diffusion's UNet (width 320) with adapted attention, on latents of side x side."""

    def build() -> tuple[nn.Module, torch.Tensor]:
        from diffusers import UNet2DConditionModel

        model = UNet2DConditionModel(block_out_channels=[width * i for i in (1, 2, 4, 4)], cross_attention_dim=768)
        return model.eval(), torch.randn(batch, 4, side, side)

    def call(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return model(x, torch.tensor(1, device=x.device), x.new_ones(len(x), 77, 768)).sample

    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    size = f"{'' if width == 320 else 'half width '}{batch}x{side}x{side}"
    return Case("unet", size, build, targets, 8, call=call)


CONTEXT = 64  # tokens before the one that a decoding step adds
DTYPES = (torch.float32, torch.bfloat16)
HEADLINE = linear(4096, 512, 8, torch.float32)
LINEAR = [linear(*case) for case in itertools.product((768, 2048, 4096), (512, 4096), (8, 32), DTYPES)]
CONV = [conv(channels, 32, 8, batch=2) for channels in (320, 640)] + [
    conv(channels, side, r) for (channels, side), r in itertools.product([(320, 32), (320, 64), (640, 32)], (8, 32))
]
SMALL = [small(*shape, apply_GS) for apply_GS in (False, True) for shape in ((1, 1), (1, 64), (4, 32), (8, 128))]
MODELS = [
    unet(),
    *SMALL,
    replace(deberta(8, 32, 64), kinds=WITHOUT_PEFT),
    deberta(8),
    replace(deberta(32), kinds=WITHOUT_PEFT),
    llama(8),
    replace(llama(32), kinds=WITHOUT_PEFT),
]
STEPS = LINEAR + CONV + MODELS
MERGES = [linear(d, 1, r, dtype) for d, r, dtype in itertools.product((768, 2048, 4096), (8, 32), DTYPES)]
# The cases on which a rewritten PEFT is compared, in about ten minutes, with PEFT's HRA if it takes only seconds.
NEXT = [
    *SMALL[:4],
    *(
        case if case.name == HEADLINE.name or "4096x" not in case.size else replace(case, kinds=WITHOUT_PEFT)
        for case in LINEAR
        if case.size.endswith(" 512 tokens")
    ),
    *(case if "320 " in case.size else replace(case, kinds=WITHOUT_PEFT) for case in CONV),
]
NEXT_MERGES = [case for case in MERGES if case.size.startswith("4096x") and case.dtype == torch.float32]
PEAKS = [linear(4096, 4096, 8, dtype) for dtype in DTYPES] + [conv(320, 64, 8, batch=4), deberta(8), llama(8)]
