"""The sizes of the paper's models without their weights: folders from which pretrained.py builds random ones.

For rehearsals, which need neither the Hub nor 14 GB of weights. The numbers are those of the models' own config files.
"""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import one_of
from hra_workflow.models import diffusion, pretrained
from hra_workflow.models.diffusion import sizes

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
SAFETY_CHECKER = {
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": True,
}
CHECKED = ("stable-diffusion-v1-5",)  # pipelines with a safety checker
NAMES = (*TRANSFORMERS, *sizes.PIPELINES)


def write(folder: Path, name: str) -> None:
    """Write the configs of a model and a tokenizer of bytes, and mark the folder as one without weights.

    Raises JobError for an unknown name.
    """
    one_of("architecture", "model", name, NAMES)
    if name in sizes.PIPELINES:
        sizes.write(folder, name)
        if name in CHECKED:
            write_safety_checker(folder)
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
        sizes.clip_tokenizer().save_pretrained(folder)
    elif model_type != "vit":
        made.pad_token_id = 0
        tokenizer = random_weights.byte_tokenizer(made, causal_lm=model_type in CAUSAL)
        # A word of the probes' texts is one token, as in the model's own vocabulary.
        tokenizer.add_tokens(AddedToken(synthetic.WORD, lstrip=True))
        tokenizer.save_pretrained(folder)
    made.save_pretrained(folder)


def write_safety_checker(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor

    settings = {name: value for name, value in TRANSFORMERS["clip-vit-large-patch14"].items() if name != "model_type"}
    CLIPConfig(**settings).save_pretrained(folder / "safety_checker")
    CLIPImageProcessor().save_pretrained(folder / "feature_extractor")
    index = folder / diffusion.INDEX
    files.write_json(index, files.read_json(index) | SAFETY_CHECKER)
