"""Cached latents: the same training as with images that are encoded in every step, and refusal of stale ones."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from control_jobs import SOURCE
from controlled import MODEL, SIDE, unet_method
from hra_workflow.core.errors import JobError
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.snakemake_bridge import identities
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control import latents
from hra_workflow.tasks.control import training as control_training
from hra_workflow.tasks.subject import dreambooth
from rule_jobs import train
from saved_states import stop_after
from support import downloaded

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def make_run(make_control_run):
    return lambda name: make_control_run(unet_method(), name, epochs=2, prompt_dropout=0.3)


def test_the_noise_of_a_sample_is_the_same(make_run, tiny_control):
    """Compare all samples of an epoch: prompt, control image, latents and the generator's next number."""
    run = make_run("run")
    run.encode()
    split = control_data.open_split(tiny_control["canny"], "train")
    rows = [split, latents.open_latents(run.latents, tiny_control["model"], tiny_control["canny"], split)]
    architecture = StableDiffusion(MODEL)
    architecture.prepare("cpu")
    trainer, found = SimpleNamespace(architecture=architecture, device="cpu"), []
    for some in rows:
        samples = control_training.Samples(some, seed=0, prompt_dropout=0.3)
        parts = [samples[n] for n in range(len(split))]
        noisy = control_training.Trainer.encode(trainer, parts)
        found.append([(part, noisy[n], torch.rand((), generator=part["generator"])) for n, part in enumerate(parts)])
    for (part, latent, after), (other, cached, following) in zip(*found, strict=True):
        assert part["prompt"] == other["prompt"] and torch.equal(part["hint"], other["hint"]) and after == following
        assert "pixels" not in other and torch.allclose(latent, cached, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [SIDE, SIDE + 8])
def test_class_images_of_a_subject_are_encoded_once_if_their_crops_are_fixed(side):
    """Compare latents and the generators' next numbers with those of samples that encode every image in every step."""
    shown = numpy.random.default_rng(0).integers(0, 256, (13, SIDE, 80, 3), numpy.uint8)
    subject = [Image.fromarray(one) for one in shown[:3]]
    of_class = [SimpleNamespace(image=Image.fromarray(one[:, :side])) for one in shown[3:]]
    architecture = StableDiffusion(MODEL)
    architecture.prepare("cpu")
    trainer, found = SimpleNamespace(architecture=architecture, device="cpu"), []
    for once in (False, True):
        samples = dreambooth.Samples(subject, of_class, SIDE, seed=0)
        if once:
            samples.encode(architecture.posterior)
            assert len(samples.of_class.encoded) == (len(of_class) if side == SIDE else 0)
        drawn = [samples[n] for n in range(4)]
        parts = [sample[of] for of in (0, 1) for sample in drawn]  # as in the loss
        encoded = control_training.Trainer.encode(trainer, parts)
        found.append((encoded, [torch.rand((), generator=part["generator"]) for part in parts[:4]]))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-5) and found[0][1] == found[1][1]


def test_a_run_resumes_where_the_cache_came_later(make_run):
    run = make_run("switched")
    stop_after(2, lambda: train(run))
    run.encode()
    resumed = train(run)
    assert resumed["resumed_from"] == [2] and not resumed["discarded"]


def test_latents_of_another_vae_or_of_other_images_are_refused(make_run, tiny_control, tmp_path):
    run = make_run("run")
    run.encode()
    plain = dict(tiny_control)

    shutil.copytree(MODEL, tmp_path / "other")
    path = tmp_path / "other/vae/diffusion_pytorch_model.safetensors"
    save_file({name: 1.01 * value for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    source = {"kind": "local", "path": str(tmp_path / "other")}
    other = downloaded(tmp_path, source, "control/scenes", {"source": SOURCE, "archives": True})
    run.tiny = plain | {"model": other["model"]}
    with pytest.raises(JobError, match=r"expected the latents of the VAE \w{12}…, found those of .* Delete it and run"):
        train(run)

    run.tiny = plain

    file = Path(run.latents.removesuffix(".manifest.json")) / latents.FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(JobError, match=r"train\.npy: expected SHA-256 .* Delete .*latents\.manifest\.json and run"):
        train(run)


@pytest.mark.parametrize("wanted", [False, True])
def test_a_finished_job_keeps_its_choice(wanted, tmp_path):
    output = tmp_path / "train.json"

    def kept(recorded: list[str] | None, plans: bool = True) -> bool:
        workflow = SimpleNamespace(persistence=SimpleNamespace(input=lambda output: recorded), is_main_process=plans)
        return identities.reads(workflow, str(output), "latents", lambda: wanted)

    assert kept(["a", "latents"]) == kept(["a"]) == wanted  # of a job that has failed
    assert kept(["a", "latents"], plans=False) and not kept(["a"], plans=False)  # Snakemake has deleted the output
    output.touch()
    assert kept(["a", "latents"]) and not kept(["a"])
    assert kept(None) == wanted


def test_the_records_of_missing_outputs_are_deleted_before_the_first_job(tmp_path):
    new, failed, old = (str(tmp_path / name) for name in ("new", "failed", "old"))
    Path(old).touch()
    jobs, deleted = [SimpleNamespace(output=output) for output in ([new], [failed, old], [], ["done"])], []
    records = SimpleNamespace(metadata=lambda path: None if path == new else {}, cleanup_metadata=deleted.append)
    dag = SimpleNamespace(jobs=jobs, needrun=lambda job: job is not jobs[3])
    identities.forget_unfinished(SimpleNamespace(dag=dag, persistence=records))
    assert deleted == [failed]
