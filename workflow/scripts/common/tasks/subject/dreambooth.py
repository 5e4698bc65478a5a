"""DreamBooth's training samples and loss: the UNet predicts the noise of subject images and of class images."""

import random
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import functional

from common.core.sharding import seed as seed_of
from common.models import stable_diffusion
from common.training import diffusion_trainer


class Samples:
    """Training samples: crops of a subject image and of a class image, with noise samples and time steps.

    In every epoch, each class image is used once, reshuffled, and the subject images equally often.
    """

    def __init__(self, subject: list[Image.Image], of_class: list, resolution: int, seed: int):
        # Bilinear, as in the official training.
        self.subject = [functional.resize(image, resolution) for image in subject]
        self.of_class = of_class
        self.resolution, self.seed = resolution, seed
        self.epoch = max(len(subject), len(of_class))

    def __getitem__(self, n: int) -> list[dict]:
        """Return the subject's sample and, with class images, the class's."""
        epoch, place = divmod(n, self.epoch)
        order = list(range(self.epoch))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        index = order[place]
        generator = torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        chosen = [self.subject[index % len(self.subject)]]
        if self.of_class:
            picture = self.of_class[index % len(self.of_class)]
            chosen.append(functional.resize(picture.image, self.resolution))
        return [{"pixels": self.crop(image, generator), "generator": generator} for image in chosen]

    def crop(self, image: Image.Image, generator: torch.Generator) -> torch.Tensor:
        """Crop at random to (3, resolution, resolution), −1 to 1."""
        size = self.resolution
        left, top = (
            int(torch.randint(room - size + 1, (), generator=generator)) for room in (image.width, image.height)
        )
        return stable_diffusion.to_tensor(image.crop((left, top, left + size, top + size))) / 127.5 - 1


class Trainer(diffusion_trainer.Trainer):
    def __init__(self, job: dict, model, folder: Path, samples: Samples, embeddings, snapshot_steps, device):
        super().__init__(job, model, folder, samples, snapshot_steps, device)
        self.embeddings = embeddings.to(self.device)

    def loss(self, samples: list[list[dict]]):
        """Return the noise's mean squared error on subject images plus `prior_weight` times that on class images."""
        parts = [sample for of in zip(*samples, strict=True) for sample in of]  # all subject's, then all class's
        context = self.embeddings[: len(parts) // len(samples)].repeat_interleave(len(samples), 0)
        errors = self.errors(parts, context).split(len(samples))
        return errors[0].mean() + sum(self.settings["prior_weight"] * part.mean() for part in errors[1:])
