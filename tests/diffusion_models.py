"""Tiny models of every diffusion architecture with random weights: components of the real classes in other sizes."""

CLIP = {
    "vocab_size": 514,
    "bos_token_id": 512,
    "eos_token_id": 513,
    "pad_token_id": 513,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 16,
}
VAE = {
    "block_out_channels": [4, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
UNET = {
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
SIZES = {  # model (diffusion.sizes) -> component -> what differs from the real size
    "stable-diffusion-v1-5-pruned": {"unet": UNET, "vae": VAE, "text_encoder": CLIP},
    "stable-diffusion-xl-base-1.0": {
        "unet": UNET
        | {
            "cross_attention_dim": 32,
            "attention_head_dim": [2, 2],
            "transformer_layers_per_block": [1, 1],
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 16 + 6 * 8,
        },
        "vae": VAE,
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
    },
    "stable-diffusion-3.5-medium": {
        "transformer": {
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 32,
            "pos_embed_max_size": 16,
            "dual_attention_layers": [0],
        },
        "vae": VAE,
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
        "text_encoder_3": {"vocab_size": 300, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4},
    },
    "flux2-klein-base-4b": {
        "transformer": {
            "in_channels": 16,
            "num_layers": 1,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 3 * 16,
            "axes_dims_rope": [4, 4, 4, 4],
        },
        "vae": VAE,
        "text_encoder": {
            "vocab_size": 300,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 27,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
        },
    },
}


def source(model: str, **sizes: dict | None) -> dict:
    """Return the source of a tiny model; `sizes`: changes per component, None for one that is left out."""
    changed = {name: one and SIZES[model].get(name, {}) | one for name, one in sizes.items()}
    generator = "hra_workflow.models.diffusion.sizes:write"
    return {"kind": "init", "generator": generator, "model": model, "sizes": SIZES[model] | changed, "seed": 0}
