"""Flow matching (arXiv 2403.03206): a transformer predicts the velocity from image to noise, at a fraction σ of it."""

import torch
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3

from hra_workflow.models.diffusion import base
from hra_workflow.models.diffusion.components import to_device


class FlowMatching(base.Diffusion):
    """The common part of architectures that are trained with flow matching.

    weighting: the distribution and weights of times, one of diffusers' weighting schemes.
    """

    schedule = "FlowMatchEulerDiscreteScheduler"
    weighting = "none"

    def errors(self, model, latents, parts, conditions, dtype, **further):
        """Return the weighted mean squared error of the predicted velocity, noise − latents."""
        generators = [part["generator"] for part in parts]
        noise = torch.stack([torch.randn(latents.shape[1:], generator=one) for one in generators])
        steps = self.noising.config.num_train_timesteps
        indices = (torch.cat([self.density(one) for one in generators]) * steps).long().clamp(max=steps - 1)
        chosen = noise, self.noising.timesteps[indices], self.noising.sigmas[indices]
        noise, times, sigmas = (to_device(one, latents.device) for one in chosen)
        sigmas = sigmas.view(-1, *[1] * (latents.dim() - 1))
        noisy = ((1 - sigmas) * latents + sigmas * noise).to(dtype)
        conditions = {name: one.to(dtype) if one.is_floating_point() else one for name, one in conditions.items()}
        predicted = self.predict(model, noisy, times, conditions, **further).float()
        weights = compute_loss_weighting_for_sd3(self.weighting, sigmas)
        return (weights * (predicted - (noise - latents)).square()).flatten(1).mean(1)

    def density(self, generator):
        """Return a random time, (1,), 0 to 1, before the schedule shifts it."""
        values = {"logit_mean": 0.0, "logit_std": 1.0, "mode_scale": 1.29}  # as in diffusers' scripts
        return compute_density_for_timestep_sampling(self.weighting, 1, generator=generator, **values)

    def predict(self, model, noisy, times, conditions: base.Conditions, **further):
        """Return the velocity of noisy latents, in their shape; `times`: σ in thousandths."""
        raise NotImplementedError
