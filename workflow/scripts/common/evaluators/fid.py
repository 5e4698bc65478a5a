"""Fréchet inception distance between the images of a run and the source images."""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy

from common.core.errors import JobError
from common.data import safe_checkpoints
from common.evaluators.protocol import Evaluator, Needs, Reference, Scores

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity's release v0.2.0


class Fid(Evaluator):
    """FID with torchmetrics; none for the source images, whose distance to themselves is 0."""

    needs = Needs(model=True, images="source")

    def __init__(self, entry: dict, folder: Path, device: str):
        self.folder, self.device = folder, device

    def score(self, images: Collection, reference: Reference) -> Scores:
        if reference.itself:
            return Scores()
        return Scores(run={"": {"value": fid(reference.images, images, self.folder, self.device), "stderr": 0.0}})


def fid(real: Iterable, generated: Iterable, network, device: str = "cpu") -> float:
    """Compute FID with torchmetrics, with images resized as in the original (TensorFlow 1's bilinear).

    network: the folder of the file INCEPTION, or a torch module from (N, 3, height, width) of uint8 to features (N, d).
    FID is biased for few images: compare only sets of the same size.
    """
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    options = {"feature": network}
    if isinstance(network, str | Path):
        path = safe_checkpoints.one_file(Path(network), INCEPTION)
        safe_checkpoints.tensors(path)  # torch-fidelity unpickles the file without checks
        options = {"feature": 2048, "feature_extractor_weights_path": str(path), "antialias": False}
    metric = FrechetInceptionDistance(**options).to(device)
    for images, is_real in ((real, True), (generated, False)):
        for image in images:
            pixels = torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1)[None]
            metric.update(pixels.to(device), real=is_real)
    counts = int(metric.real_features_num_samples), int(metric.fake_features_num_samples)
    if min(counts) < 2:
        raise JobError(
            f"FID: expected at least two images of each kind, found {counts[0]} real, {counts[1]} generated."
        )
    return float(metric.compute())
