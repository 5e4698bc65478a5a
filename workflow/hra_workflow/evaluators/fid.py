"""Fréchet inception distance between the images of a run and the source images."""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.evaluators import batches
from hra_workflow.evaluators.protocol import Evaluator, Needs, Reference, Scores

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity's release v0.2.0


class Fid(Evaluator):
    """FID with torchmetrics. The source images get none, since their distance to themselves is 0."""

    of_run = ("",)
    better = "lower"
    needs = Needs(model=True, images="source")

    def __init__(self, entry: dict, folder: Path, device: str):
        self.folder, self.device, self.batch = folder, device, batches.size(device, 32)

    def score(self, images: Collection, reference: Reference) -> Scores:
        if reference.itself:
            return Scores()
        value = fid(reference.images, images, self.folder, self.device, self.batch)
        return Scores(run={"": {"value": value, "stderr": 0.0}})


def fid(real: Iterable, generated: Iterable, network, device: str = "cpu", batch: int = 1) -> float:
    """Compute FID with torchmetrics, with images resized as in the original (TensorFlow 1's bilinear).

    network: the folder of the file INCEPTION, or a torch module from (N, 3, height, width) of uint8 to features (N, d).
    batch: the number of images at a time.
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
    # The metric gets features: updating it in batches would count some images twice if memory runs out.
    network, metric.inception = metric.inception, torch.nn.Identity()

    def of_batch(images: list):
        pixels = [torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1) for image in images]
        return network(torch.stack(pixels).to(device))

    def features(images: Iterable):
        with torch.inference_mode():
            found = list(batches.results(of_batch, images, batch))
            return torch.stack(found) if found else torch.empty(0)

    found = features(real), features(generated)
    counts = [len(one) for one in found]
    if min(counts) < 2:
        raise JobError(
            f"FID: expected at least two images of each kind, found {counts[0]} real, {counts[1]} generated."
        )
    for one, is_real in zip(found, (True, False), strict=True):
        metric.update(one.to(device), real=is_real)
    return float(metric.compute())
