"""DreamBooth's samples and loss: the noise of a subject's images and of its class's images, predicted by the UNet."""

import random
from pathlib import Path

import torch
from PIL import Image

from common.core.sharding import seed as seed_of
from common.models import stable_diffusion
from common.training import diffusion_trainer


class Samples:
    """Sample n of a training: a crop of a subject's image with one of a class image, noises and time steps.

    In an epoch every class image comes once, in a new order, and the subject's images evenly.
    """

    def __init__(self, subject: list[Image.Image], of_class: list, resolution: int, seed: int):
        self.subject = [enlarge(image, resolution) for image in subject]
        self.of_class = of_class
        self.resolution, self.seed = resolution, seed
        self.epoch = max(len(subject), len(of_class))

    def __getitem__(self, n: int) -> list[dict]:
        """The subject's part and, with class images, the class's."""
        epoch, place = divmod(n, self.epoch)
        order = list(range(self.epoch))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        index = order[place]
        generator = torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        chosen = [self.subject[index % len(self.subject)]]
        if self.of_class:
            picture = self.of_class[index % len(self.of_class)]
            chosen.append(enlarge(picture.image, self.resolution))
        return [{"pixels": self.crop(image, generator), "generator": generator} for image in chosen]

    def crop(self, image: Image.Image, generator: torch.Generator) -> torch.Tensor:
        """(3, resolution, resolution), −1 to 1."""
        size = self.resolution
        left, top = (
            int(torch.randint(room - size + 1, (), generator=generator)) for room in (image.width, image.height)
        )
        return stable_diffusion.to_tensor(image.crop((left, top, left + size, top + size))) / 127.5 - 1


def enlarge(image: Image.Image, size: int) -> Image.Image:
    """The shorter side at `size` pixels."""
    scale = size / min(image.size)
    shape = [max(size, round(side * scale)) for side in image.size]
    return image if image.size == tuple(shape) else image.resize(shape, Image.Resampling.LANCZOS)


class Trainer(diffusion_trainer.Trainer):
    def __init__(self, job: dict, model, folder: Path, samples: Samples, embeddings, snapshot_steps, device):
        super().__init__(job, model, folder, samples, snapshot_steps, device)
        self.embeddings = embeddings.to(self.device)

    def loss(self, samples: list[list[dict]]):
        """Mean squared error of the noise on the subject's images, and `prior_weight` times that on the class's."""
        parts = [sample for of in zip(*samples, strict=True) for sample in of]  # all subject's, then all class's
        context = self.embeddings[: len(parts) // len(samples)].repeat_interleave(len(samples), 0)
        errors = self.errors(parts, context).split(len(samples))
        return errors[0].mean() + sum(self.settings["prior_weight"] * part.mean() for part in errors[1:])
