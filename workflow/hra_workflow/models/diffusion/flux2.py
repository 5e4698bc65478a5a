"""FLUX.2 klein: a transformer of image and text, conditioned on hidden states of Qwen3.

It is trained with flow matching (arXiv 2403.03206): it predicts the velocity from image to noise, at a fraction σ of
it. As in diffusers' train_dreambooth_lora_flux2_klein.py, times are uniformly distributed, and latents are the mode of
the VAE's posterior, in patches of 2 × 2, normalised by the VAE's batch norm.
"""

import torch
from torch.nn import functional

from hra_workflow.core.errors import JobError
from hra_workflow.models.diffusion import base
from hra_workflow.models.diffusion.components import to_device

TOKENS = 512  # the default of diffusers' pipeline


class Flux2Klein(base.Diffusion):
    name = "flux2-klein"
    network = "Flux2Transformer2DModel"
    autoencoder = "AutoencoderKLFlux2"
    schedule = "FlowMatchEulerDiscreteScheduler"
    patch = 2

    def encode_prompts(self, pipe, prompts, device):
        last = pipe.text_encoder.config.num_hidden_layers
        if self.text_layers and max(self.text_layers) > last:
            raise JobError(
                f"text_layers: expected numbers up to {last}, the layers of Qwen3 in {self.folder}, found "
                f"{max(self.text_layers)}. Correct tasks.subject.text_layers."
            )
        # One at a time: with logits of 512 tokens each, fifteen prompts take more memory than a step of training.
        each = [pipe.encode_prompt([prompt], device=device, **self.call_options()) for prompt in prompts]
        text, ids = map(torch.cat, zip(*each, strict=True))
        return {"encoder_hidden_states": text, "txt_ids": ids}

    def call_options(self):
        layers = {"text_encoder_out_layers": tuple(self.text_layers)} if self.text_layers else {}
        return layers | {"max_sequence_length": TOKENS}

    def token_limits(self, pipe):
        def tokenized(prompt: str):
            told = [{"role": "user", "content": prompt}]
            text = pipe.tokenizer.apply_chat_template(
                told, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
            return pipe.tokenizer(text)

        return [(tokenized, TOKENS)]

    def posterior(self, pixels):
        """Return the normalised mode in patches, (N, 4 × channels, height, width)."""
        patches = functional.pixel_unshuffle(self.vae.encode(pixels).latent_dist.mode(), 2)
        norm = self.vae.bn
        mean, variance = (one.view(1, -1, 1, 1) for one in (norm.running_mean, norm.running_var))
        return (patches - mean) / torch.sqrt(variance + self.vae.config.batch_norm_eps)

    def latents(self, posteriors, generators):
        return posteriors

    def errors(self, model, latents, parts, conditions, dtype, **further):
        """Return the mean squared error of the predicted velocity, noise − latents."""
        generators = [part["generator"] for part in parts]
        noise = torch.stack([torch.randn(latents.shape[1:], generator=one) for one in generators])
        steps = self.noising.config.num_train_timesteps
        indices = (torch.cat([torch.rand(1, generator=one) for one in generators]) * steps).long().clamp(max=steps - 1)
        chosen = noise, self.noising.timesteps[indices], self.noising.sigmas[indices]
        noise, times, sigmas = (to_device(one, latents.device) for one in chosen)
        sigmas = sigmas.view(-1, *[1] * (latents.dim() - 1))
        noisy = ((1 - sigmas) * latents + sigmas * noise).to(dtype)
        conditions = {name: one.to(dtype) if one.is_floating_point() else one for name, one in conditions.items()}
        predicted = self.predict(model, noisy, times, conditions, **further).float()
        return (predicted - (noise - latents)).square().flatten(1).mean(1)

    def predict(self, model, noisy, times, conditions: base.Conditions, **further):
        """Return the velocity of noisy latents, predicted from patches with positions (image, row, column, token).

        `times`: σ in thousandths.
        """
        _, _, height, width = noisy.shape
        positions = to_device(torch.cartesian_prod(*map(torch.arange, (1, height, width, 1))), noisy.device)
        sequence = noisy.flatten(2).transpose(1, 2)
        given = conditions | {"timestep": times / 1000, "img_ids": positions[None], "return_dict": False}
        found = model(sequence, **given, **further)
        return found[0].transpose(1, 2).unflatten(2, (height, width))
