"""Stable Diffusion 1.x and 2.x: a UNet that predicts noise (or velocity), conditioned on one CLIP text encoder."""

from pathlib import Path

import torch

from hra_workflow.models.diffusion import base, components
from hra_workflow.models.diffusion.components import to_device


class TextEncoder:
    """Text embeddings of prompts for the UNet's cross-attention: (prompts, tokens, width)."""

    def __init__(self, folder: Path, precision: str, device: str):
        from transformers import CLIPTextModel, CLIPTokenizer

        self.tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        self.model = components.load(CLIPTextModel, folder, "text_encoder", precision).to(device).requires_grad_(False)

    def __call__(self, prompts: list[str]):
        return encoded(self.tokenizer, self.model, prompts)


def encoded(tokenizer, model, prompts: list[str]):
    ids = tokenizer(
        prompts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    return model(to_device(ids, model.device))[0]


class StableDiffusion(base.Diffusion):
    name = "stable-diffusion"
    network = "UNet2DConditionModel"
    schedule = "DDPMScheduler"
    text_precision = "float32"

    def encode_prompts(self, pipe, prompts, device):
        return {"text": encoded(pipe.tokenizer, pipe.text_encoder, prompts)}

    def token_limits(self, pipe):
        return [(pipe.tokenizer, pipe.tokenizer.model_max_length)]

    def errors(self, model, latents, parts, conditions, dtype, **further):
        """Return the mean squared error of the predicted noise or velocity, at uniformly distributed times."""
        noise = torch.stack([torch.randn(latents.shape[1:], generator=part["generator"]) for part in parts])
        limit = self.noising.config.num_train_timesteps
        times = torch.stack([torch.randint(limit, (), generator=part["generator"]) for part in parts])
        noise, times = (to_device(one, latents.device) for one in (noise, times))
        noisy = self.noising.add_noise(latents, noise, times).to(dtype)
        predicted = self.predict(model, noisy, times, parts, conditions, **further).float()
        v_prediction = self.noising.config.prediction_type == "v_prediction"
        target = self.noising.get_velocity(latents, noise, times) if v_prediction else noise
        return (predicted - target).square().mean(dim=(1, 2, 3))

    def predict(self, model, noisy, times, parts: list[dict], conditions: base.Conditions, **further):
        return model(noisy, times, conditions["text"].to(noisy.dtype), **further).sample

    def pipeline_options(self, safety_checker):
        return {} if safety_checker else {"safety_checker": None, "requires_safety_checker": False}

    def solver(self, config):
        """Return multistep DPM-Solver++."""
        from diffusers import DPMSolverMultistepScheduler

        return DPMSolverMultistepScheduler.from_config(config)

    def resolution_step(self):
        from diffusers import UNet2DConditionModel

        config = UNet2DConditionModel.load_config(self.folder, subfolder=self.component)
        return self.pixels_per_latent() * 2 ** (len(config["block_out_channels"]) - 1)
