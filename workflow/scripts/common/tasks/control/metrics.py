"""How well a generated picture follows its hint: edges, classes of pixels, landmarks; and FID.

Values are shares of 0 to 1, lengths are pixels; the paper's table has canny as shares, segmentation in percent.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy
from PIL import Image

from common.core.errors import JobError
from common.evaluators import image_features
from common.tasks.control import hints
from common.tasks.glue.metrics import BOOTSTRAP_SAMPLES


def edge_scores(generated: Image.Image, source: Image.Image) -> dict[str, float]:
    """`canny_iou` and `canny_f1` of the edge pixels of both; 1 where neither has any (0/0 in the official code)."""
    hints.check_sizes(generated.size, source.size, "generated picture")
    first, second = hints.edges(generated), hints.edges(source)
    both, either = int((first & second).sum()), int((first | second).sum())
    if not either:
        return {"canny_iou": 1.0, "canny_f1": 1.0}
    return {"canny_iou": both / either, "canny_f1": 2 * both / (both + either)}


# Segmentation: areas of each picture, (3, classes), then scores of all of them together.


def class_areas(predicted: numpy.ndarray, labels: numpy.ndarray, classes: int = hints.CLASSES) -> numpy.ndarray:
    """(3, classes) pixels: rightly predicted, predicted, labelled; sums of torchmetrics' confusion matrix.

    predicted, labels: (height, width) of 0 to classes − 1; pixels labelled hints.IGNORED do not count.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    hints.check_sizes(predicted.shape[::-1], labels.shape[::-1], "predicted classes")
    if predicted.size and not 0 <= predicted.min() <= predicted.max() < classes:
        raise JobError(f"predicted classes {predicted.min()} to {predicted.max()}; expected 0 to {classes - 1}.")
    matrix = multiclass_confusion_matrix(
        torch.from_numpy(predicted.astype(numpy.int64)),
        torch.from_numpy(labels.astype(numpy.int64)),
        classes,
        ignore_index=hints.IGNORED,
    )
    return torch.stack([matrix.diagonal(), matrix.sum(0), matrix.sum(1)]).numpy()


def segmentation_scores(areas: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """`miou`, `macc` and `aacc` of areas (..., 3, classes), summed over pictures before.

    As mmsegmentation's IoUMetric: IoU = right / (predicted + labelled − right), accuracy of a class = right / labelled,
    means over the classes that have either; aAcc = right / labelled over all pixels.
    """
    right, predicted, labelled = numpy.moveaxis(numpy.asarray(areas, float), -2, 0)
    with numpy.errstate(invalid="ignore"):
        return {
            "miou": mean_of_known(right / (predicted + labelled - right)),
            "macc": mean_of_known(right / labelled),
            "aacc": right.sum(-1) / labelled.sum(-1),
        }


def mean_of_known(values: numpy.ndarray) -> numpy.ndarray:
    known = ~numpy.isnan(values)
    return numpy.where(known, values, 0).sum(-1) / known.sum(-1)


def segmentation_summary(areas: numpy.ndarray, samples: int = BOOTSTRAP_SAMPLES) -> dict[str, dict[str, float]]:
    """Each score's `value` and `stderr` (bootstrap over pictures) from the pictures' areas (N, 3, classes)."""
    areas = numpy.asarray(areas, float)
    count = len(areas)
    if not areas[:, 2].sum():
        raise JobError("no labelled pixel in any picture: nothing to compare with. Are all labels 0 or 255?")
    drawn = numpy.random.default_rng(0).multinomial(count, numpy.full(count, 1 / count), samples)
    spread = segmentation_scores((drawn @ areas.reshape(count, -1)).reshape(samples, *areas.shape[1:]))
    return {
        name: {"value": float(value), "stderr": float(numpy.nanstd(spread[name], ddof=1))}
        for name, value in segmentation_scores(areas.sum(0)).items()
    }


def landmark_scores(faces: list[numpy.ndarray], truth: numpy.ndarray, size: tuple[int, int]) -> dict:
    """Of one picture of `size` (width, height): the mean distance of the points to the true ones, in pixels.

    faces: what a detector found, (points, 2) each, the surest first, which is the one that counts; truth: (points, 2)
    in the same pixels. Where no face was found there are two conventions: `landmark_error` is None, so that the picture
    is left out of the mean, as in the official evaluation; `landmark_error_all` is the largest there can be, each
    point at the corner farthest from it, so that a missing face never improves the mean. `no_face` and `several_faces`
    are 0 or 1.
    """
    truth = numpy.asarray(truth, float)
    if faces and faces[0].shape != truth.shape:
        raise JobError(f"landmarks: found {faces[0].shape}, annotated {truth.shape}; both must be the same points.")
    found = {"no_face": float(not faces), "several_faces": float(len(faces) > 1)}
    if faces:
        error = float(numpy.linalg.norm(faces[0] - truth, axis=1).mean())
        return {"landmark_error": error, "landmark_error_all": error} | found
    farthest = numpy.maximum(truth, numpy.array(size) - truth)
    return {"landmark_error": None, "landmark_error_all": float(numpy.linalg.norm(farthest, axis=1).mean())} | found


INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity's release v0.2.0


def fid(real: Iterable[Image.Image], generated: Iterable[Image.Image], network, device: str = "cpu") -> float:
    """Fréchet inception distance by torchmetrics, pictures resized as in the original (TensorFlow 1's bilinear).

    network: the folder of the file INCEPTION, or a torch module from (N, 3, height, width) of uint8 to features (N, d).
    Biased for few pictures: compare only sets of the same number.
    """
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    options = {"feature": network}
    if isinstance(network, str | Path):
        path = image_features.one_file(Path(network), INCEPTION)
        image_features.tensors(path)  # torch-fidelity unpickles what it is given
        options = {"feature": 2048, "feature_extractor_weights_path": str(path), "antialias": False}
    metric = FrechetInceptionDistance(**options).to(device)
    for pictures, is_real in ((real, True), (generated, False)):
        for picture in pictures:
            pixels = torch.from_numpy(numpy.array(picture.convert("RGB"))).permute(2, 0, 1)[None]
            metric.update(pixels.to(device), real=is_real)
    counts = int(metric.real_features_num_samples), int(metric.fake_features_num_samples)
    if min(counts) < 2:
        raise JobError(f"FID needs two pictures of each kind at least, got {counts[0]} real, {counts[1]} generated.")
    return float(metric.compute())
