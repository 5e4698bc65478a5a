"""Stable Diffusion XL (arXiv 2307.01952): a UNet with two text encoders, and the size and crop of images as inputs."""

import torch

from hra_workflow.models.diffusion import stable_diffusion
from hra_workflow.models.diffusion.components import to_device


class StableDiffusionXL(stable_diffusion.StableDiffusion):
    name = "stable-diffusion-xl"
    text_precision = None

    def encode_prompts(self, pipe, prompts, device):
        text, _, pooled, _ = pipe.encode_prompt(prompts, device=device, do_classifier_free_guidance=False)
        return {"text": text, "pooled": pooled}

    def token_limits(self, pipe):
        return [(one, one.model_max_length) for one in (pipe.tokenizer, pipe.tokenizer_2)]

    def predict(self, model, noisy, times, parts, conditions, **further):
        """Predict with the size of the image before it was resized, the corner of its crop, and the crop's size."""
        scale = self.pixels_per_latent()
        target = noisy.shape[2] * scale, noisy.shape[3] * scale
        sizes = torch.tensor([[*part["frame"], *target] for part in parts], dtype=torch.float32)
        added = {"text_embeds": conditions["pooled"].to(noisy.dtype), "time_ids": to_device(sizes, noisy.device)}
        text = conditions["text"].to(noisy.dtype)
        return model(noisy, times, text, added_cond_kwargs=added, **further).sample

    def pipeline_options(self, safety_checker):
        return {"add_watermarker": False}  # an installed package would change images
