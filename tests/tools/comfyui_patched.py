"""Load LoRA files as ComfyUI does, with its own code: python comfyui_patched.py SOURCE FOLDER.

FOLDER has, for each model, a folder with `weights.safetensors` (diffusers' names) and the LoRA `comfyui.safetensors`.
Writes the patched weights under diffusers' names to `patched.safetensors`, and the keys that ComfyUI did not load to
`unloaded.json`. The steps are those of `comfy.sd.load_lora_for_models`, which itself needs torchaudio.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SOURCE, FOLDER = map(Path, sys.argv[1:])
sys.path.insert(0, str(SOURCE))
sys.argv = ["comfyui", "--cpu"]  # which ComfyUI reads

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

from comfy import lora, lora_convert, model_patcher, sdxl_clip, supported_models, utils  # noqa: E402

CPU = torch.device("cpu")
UNET = {  # ComfyUI's names for the sizes of tests/tools/test_comfyui.py
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "use_spatial_transformer": True,
    "legacy": False,
    "num_heads": 2,
    "transformer_depth": [1, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 0, 0],
    "context_dim": 16,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
}
XL = {"context_dim": 32, "use_linear_in_transformer": True, "adm_in_channels": 64, "num_classes": "sequential"}
MMDIT = {
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 32,
    "num_patches": 256,
    "pos_embed_max_size": 16,
    "qk_norm": "rms",
    "x_block_self_attn_layers": [0],
    "pos_embed_scaling_factor": None,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 128}},
}
FLUX2 = {
    "image_model": "flux2",
    "axes_dim": [32] * 4,
    "num_heads": 1,
    "hidden_size": 128,
    "mlp_ratio": 3.0,
    "theta": 2000,
    "in_channels": 16,
    "out_channels": 16,
    "context_in_dim": 48,
    "vec_in_dim": None,
    "depth": 1,
    "depth_single_blocks": 2,
    "patch_size": 1,
    "qkv_bias": False,
    "ops_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "guidance_embed": True,
    "txt_ids_dims": [3],
}
DENOISERS = {  # model -> class, config and function that maps diffusers' names to those of the class
    "sd15": (supported_models.SD15, UNET, utils.unet_to_diffusers),
    "sdxl": (supported_models.SDXL, UNET | XL, utils.unet_to_diffusers),
    "sd35": (supported_models.SD3, MMDIT, utils.mmdit_to_diffusers),
    "flux2": (supported_models.Flux2, FLUX2, utils.flux_to_diffusers),
}
# Layers that flux_to_diffusers lacks, as in Nerogar/OneTrainer at 23df383, modules/model/Flux2Model.py.
FLUX2_NAMES = {
    f"{part}_modulation{stream}.linear.weight": f"{part}_modulation{stream}.lin.weight"
    for part, stream in (("double_stream", "_img"), ("double_stream", "_txt"), ("single_stream", ""))
} | {
    f"time_guidance_embed.{theirs}_embedder.linear_{number}.weight": f"{ours}_in.{end}_layer.weight"
    for theirs, ours in (("timestep", "time"), ("guidance", "guidance"))
    for number, end in ((1, "in"), (2, "out"))
}
CLIP = {
    f"{name}_model_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
    }
    for name in ("clip_l", "clip_g")
}


def denoiser(name: str) -> tuple[torch.nn.Module, dict]:
    """Return ComfyUI's model, and where the weights with diffusers' names are in it."""
    kind, config, mapping = DENOISERS[name]
    weights = mapping(config) | (FLUX2_NAMES if name == "flux2" else {})
    prefix = "unet." if name in ("sd15", "sdxl") else "transformer."
    return kind(config).get_model({}, ""), {prefix + key: place("diffusion_model.", to) for key, to in weights.items()}


def text_encoders() -> tuple[torch.nn.Module, dict]:
    model = sdxl_clip.SDXLClipModel(dtype=torch.float32, model_options=CLIP)
    names = {}
    for theirs, ours in (("text_encoder.", "clip_l"), ("text_encoder_2.", "clip_g")):
        prefix = f"{ours}.transformer.text_model."
        names |= {key.replace(prefix, theirs): place("", key) for key in model.state_dict() if key.startswith(prefix)}
    return model, names


def place(prefix: str, to: str | tuple) -> tuple:
    """Return the name of a weight of ComfyUI, and the part of it and the function that give diffusers' weight."""
    name, part, function = (*((to,) if isinstance(to, str) else to), None, None)[:3]
    return prefix + name, part, function or (lambda weight: weight)


def patched(folder: Path) -> None:
    (model, names), (clip, names_of_clip) = denoiser(folder.name), text_encoders()
    names |= names_of_clip
    state = model.state_dict() | clip.state_dict()

    def weight(name: str) -> torch.Tensor:
        key, part, _ = names[name]
        return state[key].narrow(*part) if part else state[key]

    weights = load_file(folder / "weights.safetensors")
    for name, tensor in weights.items():
        weight(name).copy_(names[name][2](tensor))
    file = load_file(folder / "comfyui.safetensors")
    keys = lora.model_lora_keys_clip(clip, lora.model_lora_keys_unet(model, {}))
    loaded = lora.load_lora(lora_convert.convert_lora(dict(file)), keys)
    patchers = [model_patcher.ModelPatcher(one, CPU, CPU) for one in (model, clip)]
    assert sum(len(patcher.add_patches(loaded)) for patcher in patchers) == len(loaded)
    for patcher in patchers:
        for key in patcher.patches:
            state[key].copy_(patcher.patch_weight_to_device(key, device_to=CPU, return_weight=True))
    read = {key for patch in loaded.values() for key in patch.loaded_keys}
    (folder / "unloaded.json").write_text(json.dumps(sorted(file.keys() - read)))
    # Swapping two halves, the only function here, is its own inverse.
    save_file({name: names[name][2](weight(name)).contiguous() for name in weights}, folder / "patched.safetensors")


with torch.no_grad():
    for each in sorted(FOLDER.iterdir()):
        patched(each)
