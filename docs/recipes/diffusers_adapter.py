"""Make an HRA adapter of the vectors in a checkpoint of diffusers' training scripts."""

import peft
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

import hra

hra.install()
pipe = DiffusionPipeline.from_pretrained("MODEL")
model = peft.get_peft_model(pipe.unet, peft.HRAConfig(r=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
vectors = load_file("OUT/checkpoint-500/pytorch_lora_weights.safetensors")
peft.set_peft_model_state_dict(model, {key.replace("unet.", "base_model.model.", 1): u for key, u in vectors.items()})
model.save_pretrained("ADAPTER")
