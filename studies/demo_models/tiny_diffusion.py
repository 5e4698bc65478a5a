"""A scaled-down Stable Diffusion 1.5: the same five components, classes and module names, with custom sizes."""

import itertools
from collections import Counter

# The sizes of `build` are merged over these; all other values are those of Stable Diffusion 1.5.
SIZES = {
    "text_encoder": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
    },
    "unet": {"sample_size": 16, "block_out_channels": [16, 32], "attention_head_dim": 2, "norm_num_groups": 8},
    "vae": {"block_out_channels": [8, 16, 16], "norm_num_groups": 8},
    "scheduler": {},
}
END = "</w>"  # end of a word in CLIP's vocabulary
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}


def build(sizes: dict):
    """Build a StableDiffusionPipeline with random weights; `sizes`: component -> keys of its config."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from hra_workflow.demo import object_images

    sizes = {part: SIZES[part] | sizes.get(part, {}) for part in SIZES}
    tokenizer = word_tokenizer(object_images.WORDS, sizes["text_encoder"]["max_position_embeddings"])
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        **{f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")},
        **sizes["text_encoder"],
    )
    levels = len(sizes["unet"]["block_out_channels"])
    down = ["CrossAttnDownBlock2D"] * (levels - 1) + ["DownBlock2D"]
    up = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (levels - 1)
    scales = len(sizes["vae"]["block_out_channels"])
    vae = {
        "layers_per_block": 1,
        "latent_channels": 4,
        "sample_size": sizes["unet"]["sample_size"] * 2 ** (scales - 1),
        "down_block_types": ["DownEncoderBlock2D"] * scales,
        "up_block_types": ["UpDecoderBlock2D"] * scales,
    }
    latents = (vae | sizes["vae"])["latent_channels"]
    unet = {
        "in_channels": latents,
        "out_channels": latents,
        "layers_per_block": 1,
        "cross_attention_dim": text.hidden_size,
        "down_block_types": down,
        "up_block_types": up,
    }
    return StableDiffusionPipeline(
        tokenizer=tokenizer,
        text_encoder=CLIPTextModel(text),
        unet=UNet2DConditionModel(**unet | sizes["unet"]),
        vae=AutoencoderKL(**vae | sizes["vae"]),
        scheduler=PNDMScheduler(skip_prk_steps=True, **SCHEDULE | sizes["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def word_tokenizer(words, longest: int):
    """Build CLIP's tokenizer with one token per entry of `words`; other words are encoded in bytes."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = byte_pairs(words)
    tokens = [*letters, *(f"{letter}{END}" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocabulary, merges, model_max_length=longest)


def byte_pairs(words) -> list[tuple[str, str]]:
    """Compute merges until every word is one token; the `tokenizers` trainer breaks ties differently in every call."""
    parts, merges = [[*word[:-1], word[-1] + END] for word in words], []
    while counts := Counter(pair for part in parts for pair in itertools.pairwise(part)):
        merges.append(max(counts, key=lambda pair: (counts[pair], pair)))
        for part in parts:
            for at in range(len(part) - 1, 0, -1):
                if tuple(part[at - 1 : at + 1]) == merges[-1]:
                    part[at - 1 : at + 1] = ["".join(merges[-1])]
    return merges
