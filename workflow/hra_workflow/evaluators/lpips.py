"""LPIPS: the perceptual distance of generated images to each other (diversity), and of images to the reference.

torchmetrics 1.9 gives the same values (to 1e-7), but it downloads its own backbone, lacks ST-LPIPS, and runs the
network twice per pair of images, which for 4 images and 5 reference images is 52 times instead of 9. So does
torch-fidelity 0.4.
"""

from collections.abc import Collection, Iterable
from itertools import groupby
from pathlib import Path

from hra_workflow.data import safe_checkpoints
from hra_workflow.evaluators import batches
from hra_workflow.evaluators.protocol import Evaluator, Needs, Reference, Scores


class Lpips(Evaluator):
    """Mean LPIPS distances of an image.

    `_diversity`: to the other images of the same prompt, as OFT defines it. `_real`: to the reference images, as the
    official code computes it. side: pixels to which images are resized.
    """

    metrics = ("_diversity", "_real")  # as diversity, more is better; as an error, less
    needs = Needs(model=True, images="references")
    side: int

    def __init__(self, entry: dict, folder: Path, device: str):
        self.network = self.load(folder).eval().to(device)
        self.device, self.batch = device, batches.size(device, 8)

    def embed(self, images: Iterable):
        """Embed images as (N, d), with distance |a − b|². d is large: 33 million for VGG at 512 × 512."""
        import torch

        with torch.inference_mode():
            return torch.stack(list(batches.results(self.embed_batch, images, self.batch)))

    def embed_batch(self, images: list):
        import torch

        return self.network(torch.stack([self.pixels(image) for image in images]).to(self.device))

    def pixels(self, image):
        """Convert an RGB image to (3, side, side) in −1 to 1, with torchvision's resize as in the official evaluation.

        The aspect ratio is not kept, and the interpolation is bilinear.
        """
        from torchvision.transforms import functional

        return functional.to_tensor(functional.resize(image, [self.side, self.side])) * 2 - 1

    def score(self, images: Collection, reference: Reference) -> Scores:
        if reference.itself:
            if len(images) < 2:
                return Scores()
            values = self.distances(images, images).sum(1) / (len(images) - 1)
            return Scores(dict.fromkeys(self.metrics, values.tolist()))
        real, to_real, to_others = self.embed(reference.images), [], []
        for _, pairs in groupby(zip(reference.groups, images, strict=True), key=lambda pair: pair[0]):
            embedded = self.embed(image for _, image in pairs)
            to_real += between(embedded, real).mean(1).tolist()
            others = len(embedded) - 1
            to_others += (between(embedded, embedded).sum(1) / others).tolist() if others else [None]
        return Scores({"_diversity": to_others, "_real": to_real})

    def distances(self, first: Iterable, second: Iterable):
        """Compute the distances (len(first), len(second)) of images."""
        return between(self.embed(first), self.embed(second))


def between(first, second):
    """Compute the distances (len(first), len(second)) of embedded images."""
    import torch

    return torch.stack([(second - one).square().sum(1) for one in first]).cpu()


class LpipsVgg(Lpips):
    """LPIPS with VGG16, from two files: torchvision's backbone and lpips' layers."""

    side = 512  # as in the official evaluation

    @staticmethod
    def load(folder: Path):
        from hra_workflow.evaluators import vision_networks

        backbone = safe_checkpoints.tensors_of(folder, "vgg16-*.pth")
        return vision_networks.lpips_vgg(backbone, safe_checkpoints.tensors_of(folder, "vgg.pth"))


class StLpips(Lpips):
    """Shift-tolerant LPIPS with AlexNet."""

    side = 224

    @staticmethod
    def load(folder: Path):
        from hra_workflow.evaluators import vision_networks

        return vision_networks.st_lpips(safe_checkpoints.tensors_of(folder, "alex_shift_tolerant.pth"))
