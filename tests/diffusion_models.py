"""Tiny models of every diffusion architecture with random weights: components of the real classes in other sizes."""

import json
from pathlib import Path

import diffusers
import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2TokenizerFast,
    Qwen3ForCausalLM,
    T5EncoderModel,
    T5TokenizerFast,
)

CLIP = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513, "projection_dim": 16}
CLIP |= {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VAE = {"block_out_channels": [4, 8, 8], "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4}
VAE |= {"down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}
UNET = {"sample_size": 8, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}
UNET |= {"cross_attention_dim": 16, "attention_head_dim": 2}
UNET |= {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
UNET |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
UNET_XL = UNET | {"cross_attention_dim": 32, "attention_head_dim": [2, 2], "transformer_layers_per_block": [1, 1]}
UNET_XL |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16 + 6 * 8}
SD3 = {"sample_size": 8, "in_channels": 4, "out_channels": 4, "num_layers": 2, "attention_head_dim": 8}
SD3 |= {"num_attention_heads": 2, "joint_attention_dim": 32, "caption_projection_dim": 16}
SD3 |= {"pooled_projection_dim": 32, "pos_embed_max_size": 16, "dual_attention_layers": [0]}
T5 = {"vocab_size": 300, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4}
FLUX = {"in_channels": 16, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16}
FLUX |= {"num_attention_heads": 2, "joint_attention_dim": 3 * 16, "axes_dims_rope": [4, 4, 4, 4]}
QWEN = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 27}
QWEN |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
TWO = {"vae": VAE, "text_encoder": CLIP, "text_encoder_2": CLIP}
SIZES = {  # model -> component -> its sizes
    "stable-diffusion-v1-5-pruned": {"unet": UNET, "vae": VAE, "text_encoder": CLIP},
    "stable-diffusion-xl-base-1.0": {"unet": UNET_XL} | TWO,
    "stable-diffusion-3.5-medium": {"transformer": SD3} | TWO | {"text_encoder_3": T5},
    "flux2-klein-base-4b": {"transformer": FLUX, "vae": VAE, "text_encoder": QWEN},
}

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SHIFTED = {"scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False, "use_post_quant_conv": False}
XL = {"use_linear_projection": True, "addition_embed_type": "text_time"}
UNETS, VAES, FLOWS = diffusers.UNet2DConditionModel, diffusers.AutoencoderKL, diffusers.FlowMatchEulerDiscreteScheduler
TOKENS, PROJECTED = (CLIPTokenizer, {}), (CLIPTextModelWithProjection, {"hidden_act": "gelu"})
TEXT = {"text_encoder": (CLIPTextModel, {}), "tokenizer": TOKENS}
SECOND = {"text_encoder_2": PROJECTED, "tokenizer_2": TOKENS}
PIPELINES = {  # model -> diffusers' class, and component -> class and its other settings
    "stable-diffusion-v1-5-pruned": (
        "StableDiffusionPipeline",
        {"unet": (UNETS, {}), "vae": (VAES, {})}
        | TEXT
        | {"scheduler": (diffusers.PNDMScheduler, BETAS | {"skip_prk_steps": True, "set_alpha_to_one": False})},
    ),
    "stable-diffusion-xl-base-1.0": (
        "StableDiffusionXLPipeline",
        {"unet": (UNETS, XL), "vae": (VAES, {"scaling_factor": 0.13025})}
        | TEXT
        | SECOND
        | {"scheduler": (diffusers.EulerDiscreteScheduler, BETAS | {"timestep_spacing": "leading"})},
    ),
    "stable-diffusion-3.5-medium": (
        "StableDiffusion3Pipeline",
        {"transformer": (diffusers.SD3Transformer2DModel, {"qk_norm": "rms_norm"}), "vae": (VAES, SHIFTED)}
        | {"text_encoder": (CLIPTextModelWithProjection, {}), "tokenizer": TOKENS}
        | SECOND
        | {
            "text_encoder_3": (T5EncoderModel, {"feed_forward_proj": "gated-gelu"}),
            "tokenizer_3": (T5TokenizerFast, {}),
        }
        | {"scheduler": (FLOWS, {"shift": 3.0})},
    ),
    "flux2-klein-base-4b": (
        "Flux2KleinPipeline",
        {"transformer": (diffusers.Flux2Transformer2DModel, {"guidance_embeds": False})}
        | {"vae": (diffusers.AutoencoderKLFlux2, {}), "tokenizer": (Qwen2TokenizerFast, {})}
        | {"text_encoder": (Qwen3ForCausalLM, {"tie_word_embeddings": True})}
        | {"scheduler": (FLOWS, {"shift": 3.0, "use_dynamic_shifting": True})},
    ),
}


def source(model: str, **sizes: dict | None) -> dict:
    """Return the source of a tiny model; `sizes`: changes per component, None for one that is left out."""
    changed = {name: one and SIZES[model].get(name, {}) | one for name, one in sizes.items()}
    return {"kind": "init", "generator": "diffusion_models:write", "model": model, "sizes": SIZES[model] | changed}


def write(folder: Path, model: str, sizes: dict[str, dict | None]) -> None:
    """Write a pipeline with random weights to a folder in diffusers' layout; `sizes`: None omits a component."""
    pipeline, listed = PIPELINES[model]
    index = {"_class_name": pipeline}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, (cls, settings) in listed.items():
            if sizes.get(name, {}) is None:
                index[name] = [None, None]
                continue
            index[name] = [cls.__module__.partition(".")[0], cls.__name__]
            settings = settings | sizes.get(name, {})
            if cls in TOKENIZERS:
                made = TOKENIZERS[cls](**settings)
            else:
                made = cls(cls.config_class(**settings)) if index[name][0] == "transformers" else cls(**settings)
            made.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps(index))


def clip_tokenizer(**settings):
    """Return CLIP's tokenizer with bytes as its only tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocabulary, [], **{"model_max_length": 77} | settings)


def t5_tokenizer(**settings):
    letters = ["▁", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")] + [(letter, -2.0) for letter in letters]
    return T5TokenizerFast(pieces, extra_ids=0, **settings)


def qwen_tokenizer(**settings):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Qwen2TokenizerFast({token: index for index, token in enumerate(tokens)}, [], **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    )
    return tokenizer


TOKENIZERS = {CLIPTokenizer: clip_tokenizer, T5TokenizerFast: t5_tokenizer, Qwen2TokenizerFast: qwen_tokenizer}
