"""The pipelines of text-to-image models without their weights, in the sizes of their config files or in other sizes.

Sources: the config files of stable-diffusion-v1-5, stabilityai/stable-diffusion-xl-base-1.0 and
black-forest-labs/FLUX.2-klein-base-4B; keys that are not listed have the defaults of the class. Tokenizers have bytes
as their only tokens.
"""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import one_of
from hra_workflow.models.diffusion import INDEX

LEVELS = 4
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * LEVELS,
    "up_block_types": ["UpDecoderBlock2D"] * LEVELS,
    "layers_per_block": 2,
}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
STABLE_DIFFUSION = {  # component -> library, class, and differences from the class's defaults
    "unet": ("diffusers", "UNet2DConditionModel", {"sample_size": 64, "cross_attention_dim": 768}),
    "vae": ("diffusers", "AutoencoderKL", VAE | {"sample_size": 512}),
    "text_encoder": ("transformers", "CLIPTextModel", CLIP_L),
    "tokenizer": ("transformers", "CLIPTokenizer", {}),
    "scheduler": (
        "diffusers",
        "PNDMScheduler",
        BETAS | {"skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False},
    ),
}
PIPELINES = {  # model -> diffusers' class and its components
    "stable-diffusion-v1-5": ("StableDiffusionPipeline", STABLE_DIFFUSION),
    "stable-diffusion-v1-5-pruned": ("StableDiffusionPipeline", STABLE_DIFFUSION),  # another file of weights
    "stable-diffusion-xl-base-1.0": (
        "StableDiffusionXLPipeline",
        {
            "unet": (
                "diffusers",
                "UNet2DConditionModel",
                {
                    "sample_size": 128,
                    "block_out_channels": [320, 640, 1280],
                    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                    "transformer_layers_per_block": [1, 2, 10],
                    "attention_head_dim": [5, 10, 20],
                    "cross_attention_dim": 2048,
                    "use_linear_projection": True,
                    "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 256,
                    "projection_class_embeddings_input_dim": 2816,
                },
            ),
            "vae": ("diffusers", "AutoencoderKL", VAE | {"sample_size": 1024, "scaling_factor": 0.13025}),
            "text_encoder": ("transformers", "CLIPTextModel", CLIP_L),
            "text_encoder_2": ("transformers", "CLIPTextModelWithProjection", CLIP_G),
            "tokenizer": ("transformers", "CLIPTokenizer", {}),
            "tokenizer_2": ("transformers", "CLIPTokenizer", {}),
            "scheduler": (
                "diffusers",
                "EulerDiscreteScheduler",
                BETAS | {"steps_offset": 1, "timestep_spacing": "leading"},
            ),
        },
    ),
    "flux2-klein-base-4b": (
        "Flux2KleinPipeline",
        {
            "transformer": (
                "diffusers",
                "Flux2Transformer2DModel",
                {
                    "num_layers": 5,
                    "num_single_layers": 20,
                    "num_attention_heads": 24,
                    "joint_attention_dim": 7680,
                    "guidance_embeds": False,
                },
            ),
            "vae": ("diffusers", "AutoencoderKLFlux2", {key: VAE[key] for key in VAE if key.endswith("types")}),
            "text_encoder": (
                "transformers",
                "Qwen3ForCausalLM",
                {
                    "hidden_size": 2560,
                    "intermediate_size": 9728,
                    "num_hidden_layers": 36,
                    "num_attention_heads": 32,
                    "num_key_value_heads": 8,
                    "head_dim": 128,
                    "tie_word_embeddings": True,
                },
            ),
            "tokenizer": ("transformers", "Qwen2TokenizerFast", {}),
            "scheduler": (
                "diffusers",
                "FlowMatchEulerDiscreteScheduler",
                {"shift": 3.0, "use_dynamic_shifting": True},
            ),
        },
    ),
}


def write(folder: Path, model: str, sizes: dict[str, dict | None] | None = None, seed: int | None = None) -> None:
    """Write the configs of a pipeline, and with a `seed` random weights, to a folder in diffusers' layout.

    `sizes`: component -> keys of its config in another size, or None to omit the component. Raises JobError for an
    unknown model.
    """
    import torch

    one_of("architecture", "model", model, PIPELINES)
    folder, sizes = Path(folder), sizes or {}
    pipeline, listed = PIPELINES[model]
    parts = {name: one for name, one in listed.items() if sizes.get(name, {}) is not None}
    index = {name: [library, cls] for name, (library, cls, _) in parts.items()}
    index |= {name: [None, None] for name in listed if name not in parts}
    files.write_json(folder / INDEX, {"_class_name": pipeline} | index)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        for name, (library, cls, settings) in parts.items():
            write_component(folder / name, library, cls, settings | sizes.get(name, {}), weights=seed is not None)


def write_component(folder: Path, library: str, name: str, settings: dict, weights: bool) -> None:
    import diffusers
    import torch
    import transformers

    if name in TOKENIZERS:
        TOKENIZERS[name](**settings).save_pretrained(folder)
        return
    cls = getattr(diffusers if library == "diffusers" else transformers, name)
    if library == "transformers":
        config = cls.config_class(**settings)
        (cls(config) if weights else config).save_pretrained(folder)
    elif weights or name.endswith("Scheduler"):
        cls(**settings).save_pretrained(folder)
    else:
        with torch.device("meta"):
            cls(**settings).save_config(folder)


def clip_tokenizer(**settings):
    """Return CLIP's tokenizer with bytes as its only tokens."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocabulary, [], **{"model_max_length": 77} | settings)


def t5_tokenizer(**settings):
    from tokenizers import pre_tokenizers
    from transformers import T5TokenizerFast

    letters = ["▁", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")] + [(letter, -2.0) for letter in letters]
    return T5TokenizerFast(pieces, extra_ids=0, **settings)


def qwen_tokenizer(**settings):
    from tokenizers import pre_tokenizers
    from transformers import Qwen2TokenizerFast

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


TOKENIZERS = {"CLIPTokenizer": clip_tokenizer, "T5TokenizerFast": t5_tokenizer, "Qwen2TokenizerFast": qwen_tokenizer}
