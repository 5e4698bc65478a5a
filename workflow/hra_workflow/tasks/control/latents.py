"""Cached latents: mean and standard deviation of the VAE's posterior for every row of the training split.

Crops are fixed, so a row has the same posterior in every epoch of every run; only its noise is sampled again. The cache
is in float32, so training on it equals encoding the images in every step up to rounding. fp16 would halve it, but round
the means to 11 bits.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch
from PIL.Image import Image

from hra_workflow.core import files, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.models.diffusion import base
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control.data import Split

FILE = "train.npy"  # (rows, 2, channels, height, width): mean, standard deviation
BATCH = 8  # images encoded at a time


def origin(model: str | Path, images: str | Path) -> dict[str, str]:
    """Return the digests of the inputs of latents: the VAE of a model's manifest, and the images.

    `images`: the manifest of the control images, whose files contain the images and their resolution.
    """
    vae = {name: entry["sha256"] for name, entry in files.read_json(model)["files"].items() if name.startswith("vae/")}
    return {"VAE": files.sha256_of_listing(vae), "images": files.read_json(images)["sha256"]}


def write(path: Path, split: Split, vae, device: str, threads: int) -> None:
    """Encode all images of a split into one .npy file, which appears once it is complete."""
    from tqdm import tqdm

    def pixels(row: int) -> torch.Tensor:
        return control_model.pixels(split.picture(row))

    stored = None
    with (
        files.replacing(path) as temporary,
        ThreadPoolExecutor(threads) as pool,
        torch.inference_mode(),
        tqdm(total=len(split), desc="latents", unit="image", disable=None) as progress,
    ):
        for first in range(0, len(split), BATCH):
            some = torch.stack(list(pool.map(pixels, range(first, min(first + BATCH, len(split))))))
            found = base.posterior(vae, some.to(device)).cpu().numpy()
            if stored is None:
                shape = (len(split), *found.shape[1:])
                stored = numpy.lib.format.open_memmap(temporary, "w+", found.dtype, shape)
            stored[first : first + len(found)] = found
            progress.update(len(found))
        stored.flush()


def open_latents(manifest: str | Path, model: str | Path, images: str | Path, split: Split) -> "Rows":
    """Open the latents of a split; raise JobError if they were computed with another VAE or from other images."""
    found, expected = files.read_json(manifest)["of"], origin(model, images)
    for name, digest in expected.items():
        if found[name] != digest:
            raise JobError(
                f"{manifest}: expected the latents of the {name} {digest[:12]}…, found those of {found[name][:12]}…. "
                "Delete it and run again."
            )
    return Rows(split, numpy.load(manifests.folder(manifest) / FILE, mmap_mode="r"))


class Rows:
    """The rows of a split with the posterior (2, channels, height, width), mean and deviation, instead of the image."""

    def __init__(self, split: Split, posteriors: numpy.ndarray):
        self.split, self.posteriors = split, posteriors

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, str, Image]:
        posterior = torch.from_numpy(self.posteriors[row].copy())  # read now, in this thread
        return posterior, self.split.value(row, "prompt"), self.split.hint(row)
