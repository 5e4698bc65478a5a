"""The sizes of the shipped models: folders without weights, from which the workflow builds random ones.

`hra-workflow rehearse` uses them: it needs neither the Hub nor 14 GB of weights. Its numbers are of the models' config
files.
"""

from pathlib import Path

from fakegpu.workflow import pipeline_sizes as sizes
from hra_workflow.core import files
from hra_workflow.core.errors import one_of
from hra_workflow.models import diffusion, pretrained


def decoder(model_type: str, width: int, layers: int, heads: int, keys: int, size: int, inner: int, **more) -> dict:
    """Return the config of a decoder: `heads` of queries and `keys` of keys and values, of `size` numbers each."""
    return {
        "model_type": model_type,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "head_dim": size,
        "intermediate_size": inner,
        "tie_word_embeddings": True,
        **more,
    }


LLAMA3 = {"vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5}
LLAMA3_1B = decoder("llama", 2048, 16, 32, 8, 64, 8192, **LLAMA3)
LLAMA3_3B = decoder("llama", 3072, 28, 24, 8, 128, 8192, **LLAMA3)
QWEN3 = {"vocab_size": 151936, "max_position_embeddings": 40960}
QWEN3_5 = {"vocab_size": 248320, "linear_num_key_heads": 16, "linear_num_value_heads": 32}
GEMMA3 = {"vocab_size": 262144, "max_position_embeddings": 32768, "sliding_window": 512}
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
    "llama-3.2-1b": LLAMA3_1B,
    "llama-3.2-1b-instruct": LLAMA3_1B,
    "llama-3.2-3b": LLAMA3_3B,
    "llama-3.2-3b-instruct": LLAMA3_3B,
    "qwen3-0.6b": decoder("qwen3", 1024, 28, 16, 8, 128, 3072, **QWEN3),
    "qwen3-1.7b": decoder("qwen3", 2048, 28, 16, 8, 128, 6144, **QWEN3),
    "qwen3-4b": decoder("qwen3", 2560, 36, 32, 8, 128, 9728, **QWEN3),
    "qwen3-8b": decoder("qwen3", 4096, 36, 32, 8, 128, 12288, **QWEN3) | {"tie_word_embeddings": False},
    "qwen3.5-4b": decoder("qwen3_5_text", 2560, 32, 16, 4, 256, 9216, **QWEN3_5),
    "gemma-3-1b-it": decoder("gemma3_text", 1152, 26, 4, 1, 256, 6912, **GEMMA3),
    "modernbert-base": {"model_type": "modernbert"},  # the class's default sizes
    "dino-vits16": {
        "model_type": "vit",
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "image_size": 224,
        "patch_size": 16,
    },
    "dinov2-base": {
        "model_type": "dinov2",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 518,
        "patch_size": 14,
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
CAUSAL = ("llama", "qwen3", "qwen3_5_text", "gemma3_text")
VISION = ("vit", "dinov2")
CHAT = (  # for configs with prompt.chat: true
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}[SEP]{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SAFETY_CHECKER = {
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": True,
}
CHECKED = ("stable-diffusion-v1-5",)  # pipelines with a safety checker
NAMES = (*TRANSFORMERS, *sizes.PIPELINES)


def source(name: str) -> dict | None:
    """Return the source of a model for the workflow's probes; None for one whose sizes are not known."""
    return {"kind": "init", "generator": "fakegpu.workflow.model_sizes:write", "name": name} if name in NAMES else None


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
    if model_type in (*VISION, "clip"):
        CLIPImageProcessor().save_pretrained(folder)
    if model_type == "clip":
        sizes.clip_tokenizer().save_pretrained(folder)
    elif model_type not in VISION:
        made.pad_token_id = 0
        tokenizer = random_weights.byte_tokenizer(made, causal_lm=model_type in CAUSAL)
        tokenizer.chat_template = CHAT if model_type in CAUSAL else None
        # A word of the probes' texts is one token, as in the real model's vocabulary.
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
