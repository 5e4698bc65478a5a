"""The sizes of the paper's models without their weights: folders from which pretrained.py builds random ones.

For rehearsals, which need neither the Hub nor 14 GB of weights. The numbers are those of the models' own config files.
"""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import one_of
from hra_workflow.models import pretrained

TRANSFORMERS = {
    "deberta-v3-base": {
        "model_type": "deberta-v2",
        "vocab_size": 128100,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "relative_attention": True,
        "max_relative_positions": -1,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "llama2-7b": {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    },
    "llama-3.2-3b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    },
    "dino-vits16": {
        "model_type": "vit",
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "image_size": 224,
        "patch_size": 16,
    },
    "clip-vit-large-patch14": {
        "model_type": "clip",
        "projection_dim": 768,
        "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
    },
}
CAUSAL = ("llama",)
LEVELS = 4
DIFFUSION = {  # component -> its class and what differs from the class's defaults
    "unet": ("UNet2DConditionModel", {"sample_size": 64, "cross_attention_dim": 768}),
    "vae": (
        "AutoencoderKL",
        {
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * LEVELS,
            "up_block_types": ["UpDecoderBlock2D"] * LEVELS,
            "layers_per_block": 2,
            "sample_size": 512,
        },
    ),
    "scheduler": (
        "PNDMScheduler",
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "num_train_timesteps": 1000,
            "skip_prk_steps": True,
            "steps_offset": 1,
            "set_alpha_to_one": False,
        },
    ),
}
SAFETY_CHECKER = {
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": True,
}
STABLE_DIFFUSION = ("stable-diffusion-v1-5", "stable-diffusion-v1-5-pruned")  # two files of weights
NAMES = (*TRANSFORMERS, *STABLE_DIFFUSION)


def write(folder: Path, name: str) -> None:
    """Write the configs of a model and a tokenizer of bytes, and mark the folder as one without weights.

    Raises JobError for an unknown name.
    """
    one_of("architecture", "model", name, NAMES)
    if name in STABLE_DIFFUSION:
        write_stable_diffusion(folder, safety_checker=name == STABLE_DIFFUSION[0])
    else:
        write_transformers(folder, dict(TRANSFORMERS[name]))
    files.write_json(folder / pretrained.MARK, {"architecture": name})


def write_transformers(folder: Path, config: dict) -> None:
    from transformers import AddedToken, AutoConfig, CLIPImageProcessor

    from hra_workflow.data import synthetic
    from hra_workflow.models import random_weights

    model_type = config.pop("model_type")
    made = AutoConfig.for_model(model_type, **config)
    if model_type in ("vit", "clip"):
        CLIPImageProcessor().save_pretrained(folder)
    if model_type == "clip":
        clip_tokenizer().save_pretrained(folder)
    elif model_type != "vit":
        made.pad_token_id = 0
        tokenizer = random_weights.byte_tokenizer(made, causal_lm=model_type in CAUSAL)
        # A word of the probes' texts is one token, as in the model's own vocabulary.
        tokenizer.add_tokens(AddedToken(synthetic.WORD, lstrip=True))
        tokenizer.save_pretrained(folder)
    made.save_pretrained(folder)


def write_stable_diffusion(folder: Path, safety_checker: bool) -> None:
    import diffusers
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig

    index = pretrained.PIPELINE | {"scheduler": ["diffusers", DIFFUSION["scheduler"][0]]}
    if safety_checker:
        index |= SAFETY_CHECKER
        sizes = {name: value for name, value in TRANSFORMERS["clip-vit-large-patch14"].items() if name != "model_type"}
        CLIPConfig(**sizes).save_pretrained(folder / "safety_checker")
        CLIPImageProcessor().save_pretrained(folder / "feature_extractor")
    files.write_json(folder / "model_index.json", index)
    for component, (name, settings) in DIFFUSION.items():
        own = {"_class_name": name, "_diffusers_version": diffusers.__version__}
        file = "scheduler_config.json" if component == "scheduler" else "config.json"
        files.write_json(folder / component / file, own | settings)
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768)
    text.save_pretrained(folder / "text_encoder")
    clip_tokenizer().save_pretrained(folder / "tokenizer")


def clip_tokenizer():
    """Return CLIP's tokenizer with bytes as its only tokens."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({token: index for index, token in enumerate(tokens)}, [], model_max_length=77)
