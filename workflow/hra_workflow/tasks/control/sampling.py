"""Generation from prompts, seeds and control images as in the official code.

The sampler is DDIM, with the control image in both branches of classifier-free guidance.
"""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionControlNetPipeline
from PIL.Image import Image

from hra_workflow import methods
from hra_workflow.models.diffusion import sampling
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.models.precision import dtype
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model


class Sampler(sampling.Sampler):
    """Sampler for a UNet with a hint encoder, or for a ControlNet in diffusers' pipeline."""

    truncates = True  # as the official code does with its datasets' prompts

    def scheduler(self, config):
        """Build DDIM with LDM's time steps, 1, 21, …, 981 for fifty, whose last step ends at the first noise level.

        diffusers' defaults clip the latents as if they were images.
        """
        return DDIMScheduler.from_config(
            config, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
        )

    def use(self, method: dict, weights: Path) -> None:
        """Load a run's model from disk and merge its adapters, which cannot be reversed exactly."""
        if weights == self.weights:
            return
        model = control_model.load_trained(self.folder, method, weights)
        model = model.to(self.device, dtype(self.sampling["precision"])).requires_grad_(False).eval()
        if methods.entry(method).controlnet:
            parts = self.pipe.components | dict(unet=model.unet, controlnet=model.controlnet)
            checked = self.pipe.config["requires_safety_checker"]
            self.pipe = StableDiffusionControlNetPipeline(**parts, requires_safety_checker=checked)
            self.pipe.set_progress_bar_config(disable=True)
        else:
            self.pipe.unet = model
        self.weights = weights

    def at_once(self, prompts: list[str], seeds: list[int], hints: list[Image]) -> list[tuple]:
        """Generate one batch; `hints`: control images, RGB, with the size of the images."""
        shown = torch.stack([to_tensor(hint) for hint in hints]) / 255
        if hasattr(self.pipe, "controlnet"):
            return super().at_once(prompts, seeds, image=shown)
        with hint_encoder.cached_hint(self.pipe.unet, shown):
            return super().at_once(prompts, seeds)
