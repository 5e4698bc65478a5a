"""Control accuracy of canny images: agreement between the edges of an image and those of its source image."""

from collections.abc import Collection

import numpy
from PIL import Image

from hra_workflow.core.errors import check_sizes
from hra_workflow.evaluators.protocol import Evaluator, Needs, Reference, Scores

THRESHOLDS = (100, 200)  # as in the paper's data and the official evaluation


def edges(image: Image.Image) -> numpy.ndarray:
    """Detect Canny edges, (height, width) of bool, in colour: every pixel uses its channel with the largest gradient.

    It also computes the control images.
    """
    import cv2

    return cv2.Canny(numpy.ascontiguousarray(image.convert("RGB")), *THRESHOLDS) > 0


class Canny(Evaluator):
    """IoU and F1 of the edge pixels of an image and its source image."""

    metrics = ("_iou", "_f1")
    better = "higher"
    needs = Needs(images="source")

    def score(self, images: Collection, reference: Reference) -> Scores:
        found = [edge_scores(*pair) for pair in zip(images, reference.images, strict=True)]
        return Scores({ending: [one[ending] for one in found] for ending in self.metrics})


def edge_scores(generated: Image.Image, source: Image.Image) -> dict[str, float]:
    """Compute IoU and F1 of the edge pixels of both images; 1 if neither has edges (0/0 in the official code)."""
    check_sizes(generated.size, source.size, "generated image")
    first, second = edges(generated), edges(source)
    both, either = int((first & second).sum()), int((first | second).sum())
    if not either:
        return {"_iou": 1.0, "_f1": 1.0}
    return {"_iou": both / either, "_f1": 2 * both / (both + either)}
