"""Every diffusion architecture, tiny and random: trained, stopped and resumed, sampled, exported, read by diffusers."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

import augment
import diffusion_models
import export_adapter
import generate_class_images
import subjects
from hra_workflow.models import adapters, diffusion
from hra_workflow.models.diffusion.sampling import Sampler
from hra_workflow.tasks.subject import dreambooth
from hra_workflow.training import interruption
from rule_jobs import train
from subjects import SAMPLING, SubjectRun
from support import downloaded, method

STEPS, STOP = 20, 7
SETTINGS = {"max_steps": STEPS, "epoch_steps": STEPS, "keep_epochs": "last", "learning_rate": 1e-3}
PROMPTS = ["a qwe ball", "a red qwe ball"]


@pytest.fixture(scope="module", params=diffusion_models.SIZES)
def trained(request, tmp_path_factory):
    """Train a run of an architecture without a pause, and one that is stopped."""
    folder = tmp_path_factory.mktemp(request.param)
    given = downloaded(folder, diffusion_models.source(request.param), "subject/jester-ball", subjects.DATASET)
    name = diffusion.named(Path(given["model"].removesuffix(".manifest.json")))
    chosen = method("hra", targets=diffusion.ARCHITECTURES[name].targets["all_linear"])
    runs = {one: SubjectRun(folder / one, given, chosen, **SETTINGS) for one in ("calm", "stopped")}
    plain = dreambooth.Trainer.step

    def step(self, number):
        found = plain(self, number)
        if number == STOP:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    for run in runs.values():
        augment.main(run.augment)
        generate_class_images.main(run.class_images())
    record = train(runs["calm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dreambooth.Trainer, "step", step)
        with pytest.raises(interruption.Interrupted):
            train(runs["stopped"])
    resumed = train(runs["stopped"])
    base = Path(given["model"].removesuffix(".manifest.json"))
    return SimpleNamespace(**runs, record=record, resumed=resumed, base=base, name=name)


def images_of(pipe, sampler: Sampler, seed: int = 3) -> list:
    """Generate the images of PROMPTS with diffusers' own call from the workflow's noise."""
    side = SAMPLING["resolution"] // (pipe.vae_scale_factor * sampler.architecture.patch)
    noise = torch.randn(
        1, sampler.network.config.in_channels, side, side, generator=torch.Generator().manual_seed(seed)
    )
    pipe.set_progress_bar_config(disable=True)
    return [
        pipe(
            prompt=prompt,
            height=SAMPLING["resolution"],
            width=SAMPLING["resolution"],
            num_inference_steps=SAMPLING["inference_steps"],
            guidance_scale=SAMPLING["guidance"],
            latents=noise,
        ).images[0]
        for prompt in PROMPTS
    ]


def apart(first, second) -> int:
    return int(numpy.abs(numpy.asarray(first, int) - numpy.asarray(second, int)).max())


def test_a_run_that_is_stopped_resumes_bit_exactly(trained):
    first, second = (load_file(run.weights["last"]) for run in (trained.calm, trained.stopped))
    start = load_file(trained.calm.folder / "augmented" / adapters.WEIGHTS)
    assert trained.resumed["resumed_from"] == [STOP + 1] and trained.record["curve"] == trained.resumed["curve"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    moved = [name for name in first if not torch.equal(first[name], start[name])]
    assert moved == list(first)  # every target has a gradient


def test_images_depend_on_their_seed_and_not_on_their_batch(trained):
    sampler = Sampler(trained.base, SAMPLING | {"scheduler": "model"}, "cpu")
    before = sampler.draw(PROMPTS, [3, 3])
    sampler.use(trained.calm.method, trained.calm.last)
    (first, _), (second, _) = sampler.draw(PROMPTS, [3, 3])
    ((alone, _),) = sampler.draw(PROMPTS[1:], [3])
    assert apart(first, before[0][0]) > 0 and apart(second, alone) <= 1 and apart(first, second) > 0


def test_the_exported_lora_gives_the_same_images_in_diffusers(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = trained.calm
    params = {"dataset": run.tiny["dataset"], "model": run.tiny["model"], "metrics": [], "tables": []}
    params |= {"record": str(run.folder / "run/train.json"), "adapter": run.weights["last"], "label": "HRA"}
    params |= {"settings": {"sampling": SAMPLING}, "to_lora": "hra.conversion:to_lora"}
    job = run.job("export_adapter", {}, {"card": tmp_path / "hub/README.md"}, **params)
    export_adapter.main(job | {"wildcards": {"weights": "last"}})
    sampler = Sampler(trained.base, SAMPLING | {"scheduler": "model"}, "cpu")
    sampler.use(run.method, run.last)
    expected = images_of(sampler.pipe, sampler)
    pipe = DiffusionPipeline.from_pretrained(trained.base)
    plain = images_of(pipe, sampler)
    pipe.load_lora_weights(tmp_path / "hub/lora")
    for found, wanted, base in zip(images_of(pipe, sampler), expected, plain, strict=True):
        assert apart(found, wanted) <= 2 and apart(wanted, base) > 2
