"""Class images of a subject: the same training as with images that are encoded in every step."""

from types import SimpleNamespace

import numpy
import torch
from PIL import Image

from controlled import MODEL, SIDE
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.tasks.subject import dreambooth
from hra_workflow.training import diffusion_trainer


def test_class_images_of_a_subject_are_encoded_once():
    """Compare latents and the generators' next numbers with those of samples that encode every image in every step."""
    shown = numpy.random.default_rng(0).integers(0, 256, (13, SIDE, 80, 3), numpy.uint8)
    subject = [Image.fromarray(one) for one in shown[:3]]
    of_class = [Image.fromarray(one[:, :SIDE]) for one in shown[3:]]
    architecture = StableDiffusion(MODEL)
    architecture.prepare("cpu")
    trainer, found = SimpleNamespace(architecture=architecture, device="cpu"), []
    for once in (False, True):
        samples = dreambooth.Samples(subject, of_class, SIDE, seed=0)
        if once:
            samples.encode(architecture.posterior)
            assert len(samples.of_class.encoded) == len(of_class)
        drawn = [samples[n] for n in range(4)]
        parts = [sample[of] for of in (0, 1) for sample in drawn]  # as in the loss
        encoded = diffusion_trainer.Trainer.encode(trainer, parts)
        found.append((encoded, [torch.rand((), generator=part["generator"]) for part in parts[:4]]))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-5) and found[0][1] == found[1][1]
