"""SDXL and FLUX.2, tiny and random: trained, sampled, exported, read by diffusers. The others use SD 1.5."""

from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from diffusers import DiffusionPipeline, Flux2KleinPipeline
from diffusers.training_utils import compute_density_for_timestep_sampling
from safetensors.torch import load_file

import diffusion_models
import subjects
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, built_adapters, diffusion
from hra_workflow.models.diffusion import exports
from hra_workflow.models.diffusion.sampling import Sampler
from rule_jobs import train
from subjects import SAMPLING, SubjectRun
from support import downloaded, method
from test_export_adapter import export_unevaluated

pytestmark = pytest.mark.slow

STEPS = 14
SETTINGS = {"batch_size": 1, "max_steps": STEPS, "epoch_steps": STEPS, "keep_epochs": "last", "learning_rate": 1e-2}
MODELS = ["stable-diffusion-xl-base-1.0", "flux2-klein-base-4b"]
PROMPTS = ["a qwe ball", "a red qwe ball"]


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory):
    """Train a run of an architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    given = downloaded(folder, diffusion_models.source(request.param), "subject/jester-ball", subjects.DATASET)
    name = diffusion.architecture_name(Path(given["model"].removesuffix(".manifest.json")))
    chosen = method("hra", targets=diffusion.ARCHITECTURES[name].targets["all_linear"])
    run = SubjectRun(folder / "run", given, chosen, **SETTINGS).started()
    train(run)
    return SimpleNamespace(run=run, base=Path(given["model"].removesuffix(".manifest.json")), name=name)


def parts(count: int) -> list[dict]:
    """Return what the loss needs of images: the generators of their noise and time, and the frames of their crops."""
    frames = [(48, 64, 3, 5 + n) for n in range(count)]
    return [{"generator": torch.Generator().manual_seed(n), "frame": frame} for n, frame in enumerate(frames)]


def images_of(pipe, sampler: Sampler, seed: int = 3) -> list:
    """Generate the images of PROMPTS with diffusers' own call from the workflow's noise."""
    side = SAMPLING["resolution"] // (pipe.vae_scale_factor * sampler.architecture.patch)
    shape, generator = (1, sampler.network.config.in_channels, side, side), torch.Generator().manual_seed(seed)
    settings = {"height": SAMPLING["resolution"], "width": SAMPLING["resolution"]}
    settings |= {"num_inference_steps": SAMPLING["inference_steps"], "guidance_scale": SAMPLING["guidance"]}
    settings["latents"] = torch.randn(shape, generator=generator)
    pipe.set_progress_bar_config(disable=True)
    return [pipe(prompt=prompt, **settings).images[0] for prompt in PROMPTS]


def apart(first, second) -> int:
    return int(numpy.abs(numpy.asarray(first, int) - numpy.asarray(second, int)).max())


def test_every_target_learns_and_images_depend_on_their_seed_and_not_on_their_batch(trained):
    start, end = load_file(trained.run.folder / "augmented" / adapters.WEIGHTS), load_file(trained.run.last)
    assert end and not [name for name in end if torch.equal(end[name], start[name])]
    sampler = Sampler(trained.base, SAMPLING | {"scheduler": "model"}, "cpu")
    sampler.use(trained.run.method, trained.run.last)
    (first, _), (second, _) = sampler.draw(PROMPTS, [3, 3])
    ((alone, _),) = sampler.draw(PROMPTS[1:], [3])
    assert apart(second, alone) <= 1 and apart(first, second) > 0


def test_the_exported_lora_gives_the_same_images_in_diffusers(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = trained.run
    export_unevaluated(run, tmp_path / "hub", {"sampling": SAMPLING})
    sampler = Sampler(trained.base, SAMPLING | {"scheduler": "model"}, "cpu")
    sampler.use(run.method, run.last)
    expected = images_of(sampler.pipe, sampler)
    pipe = DiffusionPipeline.from_pretrained(trained.base)
    plain = images_of(pipe, sampler)
    pipe.load_lora_weights(tmp_path / "hub/lora", weight_name=exports.DIFFUSERS)
    for found, wanted, base in zip(images_of(pipe, sampler), expected, plain, strict=True):
        assert apart(found, wanted) <= 2 and apart(wanted, base) > 2


@pytest.mark.parametrize("trained", ["flux2-klein-base-4b"], indirect=True)
def test_the_loss_of_flow_matching_is_that_of_diffusers_scripts(trained):
    """With the functions of diffusers' pipeline instead of this repository's, and a time per image."""
    model, pipe, count = diffusion.architecture_in(trained.base), Flux2KleinPipeline, 3
    model.prepare("cpu")
    network, conditions = model.load(), model.embeddings(["a ball"] * count, "float32", "cpu")
    pixels = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9)) * 2 - 1
    with torch.no_grad():
        generators = [part["generator"] for part in parts(count)]
        latents = model.latents(model.posterior(pixels), generators)
        found = model.errors(network, latents, parts(count), conditions, torch.float32)
        model.vae.bn.running_mean += 1
        expected = pipe._patchify_latents(model.vae.encode(pixels).latent_dist.mode()) - 1
        torch.testing.assert_close(model.posterior(pixels), expected / (1 + model.vae.config.batch_norm_eps) ** 0.5)
        again = [part["generator"] for part in parts(count)]
        noise = torch.stack([torch.randn(latents.shape[1:], generator=one) for one in again])
        u = torch.cat([compute_density_for_timestep_sampling("none", 1, generator=one) for one in again])
        times = model.noising.timesteps[(u * 1000).long()]
        sigmas = (times / 1000).view(-1, 1, 1, 1)
        noisy = (1 - sigmas) * latents + sigmas * noise
        ids = pipe._prepare_latent_ids(noisy)
        told = conditions | {"timestep": times / 1000, "img_ids": ids}
        predicted = pipe._unpack_latents_with_ids(network(pipe._pack_latents(noisy), **told)[0], ids)
    torch.testing.assert_close(found, (predicted - (noise - latents)).square().mean((1, 2, 3)))
    assert times.unique().numel() == count


@pytest.mark.parametrize("trained", ["stable-diffusion-xl-base-1.0"], indirect=True)
def test_sdxl_is_told_the_size_and_the_crop_of_an_image(trained):
    model, seen = diffusion.architecture_in(trained.base), []
    network, conditions = model.load(), model.embeddings(["a ball"] * 2, "float32", "cpu")
    network.add_time_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].view(2, 6).tolist()))
    with torch.no_grad():
        model.predict(network, torch.zeros(2, 4, 8, 8), torch.tensor([1, 1]), parts(2), conditions)
    assert seen == [[[48, 64, 3, 5, 32, 32], [48, 64, 3, 6, 32, 32]]]


def test_a_prompt_that_is_too_long_and_layers_that_do_not_exist_are_refused(trained):
    model = diffusion.architecture_in(trained.base)
    model.embeddings(["a ball"], "float32", "cpu")
    with pytest.raises(JobError, match=r"expected at most \d+ tokens, which the text encoder of .*Shorten the prompt"):
        model.embeddings(["a ball " * 100], "float32", "cpu")
    if trained.name == "flux2-klein":
        with pytest.raises(JobError, match=r"text_layers: expected numbers up to 27, .* found 28. Correct tasks.subj"):
            diffusion.architecture_in(trained.base, [9, 18, 28]).embeddings(["a ball"], "float32", "cpu")


def test_all_linear_are_the_linear_layers_of_the_blocks_and_an_unknown_target_is_named(trained):
    network, lists = diffusion.architecture_in(trained.base).load(), diffusion.ARCHITECTURES[trained.name].targets
    linears = {name for name, one in network.named_modules() if isinstance(one, torch.nn.Linear) and "blocks" in name}
    for key, inside in (("all_linear", (".attn", ".ff", ".proj_in", ".proj_out")), ("attention", (".attn",))):
        chosen = adapters.targets(network, method("hra", targets=lists[key]))
        expected = {name for name in linears if any(part in name for part in inside)}
        assert {name for name in linears if built_adapters.is_named(name, chosen)} == expected
    with pytest.raises(JobError, match=rf"'to_qq' matches no Linear layer of {type(network).__name__}.*end in: "):
        adapters.targets(network, method("hra", targets=["to_q", "to_qq"]))
