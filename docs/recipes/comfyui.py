"""Rename the keys of an exported LoRA for ComfyUI and kohya's scripts."""

import re

from diffusers.utils import convert_state_dict_to_kohya
from safetensors.torch import load_file, save_file

NAMES = {
    r"^text_encoder(_2)?\.(?!text_model\.)": r"text_encoder\1.text_model.",  # transformers 5 has no such level
    r"^transformer\.(\w+_modulation\w*)\.linear\.": r"diffusion_model.\1.lin.",  # FLUX.2
    r"^transformer\.time_guidance_embed\.(time|guidance)\w*\.linear_1\.": r"diffusion_model.\1_in.in_layer.",
    r"^transformer\.time_guidance_embed\.(time|guidance)\w*\.linear_2\.": r"diffusion_model.\1_in.out_layer.",
}
state = load_file("OUT/pytorch_lora_weights.safetensors")
for theirs, comfyui in NAMES.items():
    state = {re.sub(theirs, comfyui, key): tensor for key, tensor in state.items()}
if any(key.startswith("unet.") for key in state):
    state = convert_state_dict_to_kohya(state)
save_file(state, "OUT/comfyui.safetensors")
