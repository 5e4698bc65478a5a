"""DreamBooth's training samples and loss: the network is trained on subject images and on class images."""

import random
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torchvision.transforms import functional

from hra_workflow.core.sharding import seed as seed_of
from hra_workflow.models.diffusion.base import Conditions, Diffusion
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.training import diffusion_trainer


class Crops:
    """Square crops of images, at random or `centred`, as parts of samples.

    `prompts`: the row of each image in the conditions. `resized`: each image with `resolution` as its shorter side, and
    its original height and width. `encoded`: the posterior of each image, from which latents are computed, and its
    frame, if its crop is fixed.
    """

    def __init__(self, images: Sequence[Image.Image], prompts: Sequence[int], resolution: int, centred: bool):
        self.prompts, self.resolution, self.centred = prompts, resolution, centred
        # Bilinear, as in the official training.
        self.resized = [(functional.resize(image, resolution), (image.height, image.width)) for image in images]
        self.encoded: list[tuple[torch.Tensor, tuple]] = []

    def __len__(self) -> int:
        return len(self.resized)

    @torch.no_grad()
    def encode(self, posterior: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Encode the images, whose crops must be fixed, now instead of in every step.

        It encodes one at a time: eight of 512 pixels, in float32, take more memory than a step of Stable Diffusion 1.5.
        """
        for image, size in self.resized:
            pixels, frame = self.cut(image, size, None)
            self.encoded.append((posterior(pixels[None])[0].cpu(), frame))

    def part(self, index: int, generator: torch.Generator) -> dict:
        """Return an image as a part of a sample: see Diffusion, and Trainer.errors of diffusion_trainer."""
        if self.encoded:
            name, (value, frame) = "posterior", self.encoded[index]
            self.corner((self.resolution, self.resolution), generator)  # use the same random numbers as with an image
        else:
            name, (value, frame) = "pixels", self.cut(*self.resized[index], generator)
        return {name: value, "frame": frame, "prompt": self.prompts[index], "generator": generator}

    def cut(self, image: Image.Image, size: tuple[int, int], generator: torch.Generator | None) -> tuple:
        """Return a crop, (3, resolution, resolution), −1 to 1, and its frame; without a generator, from the centre."""
        left, top = self.corner(image.size, generator)
        cropped = image.crop((left, top, left + self.resolution, top + self.resolution))
        return to_tensor(cropped) / 127.5 - 1, (*size, top, left)

    def corner(self, size: tuple[int, int], generator: torch.Generator | None) -> list[int]:
        rooms = [side - self.resolution for side in size]
        if self.centred or generator is None:
            return [round(room / 2) for room in rooms]
        return [int(torch.randint(room + 1, (), generator=generator)) for room in rooms]


class Samples:
    """Training samples: crops of a subject image and of a class image, with the generator of their random numbers.

    In every epoch, each class image is used once, reshuffled, and the subject images equally often. `prompts`: the row
    of each subject image in the conditions, by default the first; the row of the class images follows.
    """

    def __init__(
        self,
        subject: list[Image.Image],
        of_class: list[Image.Image],
        resolution: int,
        seed: int,
        centred: bool = False,
        prompts: Sequence[int] | None = None,
    ):
        rows = prompts or [0] * len(subject)
        self.subject = Crops(subject, rows, resolution, centred)
        self.of_class = Crops(of_class, [max(rows) + 1] * len(of_class), resolution, centred)
        self.seed, self.epoch = seed, max(len(subject), len(of_class))

    def encode(self, posterior: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Encode class images, which are squares, and centred subject images, now instead of in every step."""
        self.of_class.encode(posterior)
        if self.subject.centred:
            self.subject.encode(posterior)

    def are_encoded(self) -> bool:
        return all(some.encoded for some in (self.subject, self.of_class) if len(some))

    def __getitem__(self, n: int) -> list[dict]:
        """Return the subject's sample and, with class images, the class's."""
        epoch, place = divmod(n, self.epoch)
        order = list(range(self.epoch))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        index, generator = order[place], torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        return [some.part(index % len(some), generator) for some in (self.subject, self.of_class) if len(some)]


class Trainer(diffusion_trainer.Trainer):
    """Trains on `samples`; `conditions`: those of their prompts."""

    def __init__(self, job: dict, model, architecture: Diffusion, samples: Samples, conditions: Conditions):
        super().__init__(job, model, architecture, samples)
        self.conditions = {name: value.to(self.device) for name, value in conditions.items()}
        samples.encode(lambda pixels: architecture.posterior(pixels.to(self.device)))
        if samples.are_encoded():
            architecture.vae.to("cpu")

    def loss(self, samples: list[list[dict]]):
        """Return the mean loss on subject images plus `prior_weight` times that on class images."""
        parts = [part for of in zip(*samples, strict=True) for part in of]  # all subject, then all class images
        conditions = {
            name: torch.stack([value[part["prompt"]] for part in parts]) for name, value in self.conditions.items()
        }
        errors = self.errors(parts, conditions).split(len(samples))
        return errors[0].mean() + sum(self.settings["prior_weight"] * part.mean() for part in errors[1:])
