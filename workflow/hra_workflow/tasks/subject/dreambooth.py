"""DreamBooth's training samples and loss: the UNet predicts the noise of subject images and of class images."""

import random
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import functional

from hra_workflow.core.sharding import seed as seed_of
from hra_workflow.models import stable_diffusion
from hra_workflow.training import diffusion_trainer

BATCH = 8  # class images encoded at a time


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
        self.posteriors: list[torch.Tensor] = []  # of the class images

    @torch.no_grad()
    def encode_class_images(self, vae, device) -> None:
        """Encode the class images with the VAE now instead of in every epoch, if all are square: then crops are fixed.

        In the same batches in every attempt, so that a run that resumes ends with the same numbers.
        """
        if any(picture.image.width != picture.image.height for picture in self.of_class):
            return
        for first in range(0, len(self.of_class), BATCH):
            some = [
                functional.resize(picture.image, self.resolution) for picture in self.of_class[first : first + BATCH]
            ]
            self.posteriors += stable_diffusion.posterior(vae, torch.stack(list(map(pixels, some))).to(device)).cpu()

    def __getitem__(self, n: int) -> list[dict]:
        """Return the subject's sample and, with class images, the class's."""
        epoch, place = divmod(n, self.epoch)
        order = list(range(self.epoch))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        index = order[place]
        generator = torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        parts = [{"pixels": self.crop(self.subject[index % len(self.subject)], generator)}]
        if self.posteriors:
            self.corner(self.resolution, self.resolution, generator)  # the same random numbers as with an image
            parts.append({"posterior": self.posteriors[index % len(self.of_class)]})
        elif self.of_class:
            picture = self.of_class[index % len(self.of_class)]
            parts.append({"pixels": self.crop(functional.resize(picture.image, self.resolution), generator)})
        return [part | {"generator": generator} for part in parts]

    def crop(self, image: Image.Image, generator: torch.Generator) -> torch.Tensor:
        """Crop at random to (3, resolution, resolution), −1 to 1."""
        left, top = self.corner(image.width, image.height, generator)
        return pixels(image.crop((left, top, left + self.resolution, top + self.resolution)))

    def corner(self, width: int, height: int, generator: torch.Generator) -> tuple[int, int]:
        left, top = (
            int(torch.randint(room - self.resolution + 1, (), generator=generator)) for room in (width, height)
        )
        return left, top


def pixels(image: Image.Image) -> torch.Tensor:
    """Convert to (3, height, width), −1 to 1, as the VAE expects."""
    return stable_diffusion.to_tensor(image) / 127.5 - 1


class Trainer(diffusion_trainer.Trainer):
    def __init__(self, job: dict, model, folder: Path, samples: Samples, embeddings, snapshot_steps, device):
        super().__init__(job, model, folder, samples, snapshot_steps, device)
        self.embeddings = embeddings.to(self.device)
        samples.encode_class_images(self.vae, self.device)

    def loss(self, samples: list[list[dict]]):
        """Return the noise's mean squared error on subject images plus `prior_weight` times that on class images."""
        parts = [sample for of in zip(*samples, strict=True) for sample in of]  # all subject's, then all class's
        context = self.embeddings[: len(parts) // len(samples)].repeat_interleave(len(samples), 0)
        errors = self.errors(parts, context).split(len(samples))
        return errors[0].mean() + sum(self.settings["prior_weight"] * part.mean() for part in errors[1:])
