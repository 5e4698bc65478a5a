"""Training on control images: samples, gradients, loss, schedule, and save and load of every method."""

import math
from types import SimpleNamespace

import numpy
import pytest
import torch
from safetensors.torch import load_file

from controlled import MODEL, SIDE, Rows, Run, hints, inputs, rows, unet_method
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control import training as control_training
from hra_workflow.training import diffusion_trainer
from two_ranks import on_two_ranks

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def samples_of(data: Rows, **settings) -> control_training.Samples:
    samples = control_training.Samples(data, seed=0, **settings)
    samples.posteriors = numpy.arange(len(data))[:, None]
    return samples


def test_images_are_encoded_once_and_the_file_is_deleted(tmp_path):
    """Compare with the posteriors of the images, encoded one at a time; twelve rows are two batches."""
    trainer, data = Run(tmp_path, unet_method()).trainer(), rows(12)
    found = torch.from_numpy(trainer.encode_all(data).copy())
    with torch.no_grad():
        pictures = [to_tensor(image)[None] / 127.5 - 1 for image, *_ in data]
        expected = torch.cat([trainer.architecture.posterior(one) for one in pictures])
    assert found.shape[:2] == (12, 2) and torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not list(trainer.scratch.iterdir())


def test_samples_are_a_shuffle_of_the_rows_in_every_epoch():
    data = Rows((image, str(place), hint) for place, (image, _, hint) in enumerate(rows(6)))
    samples = samples_of(data)
    epochs = [[samples[n]["prompt"] for n in range(6 * epoch, 6 * epoch + 6)] for epoch in range(3)]
    assert all(sorted(epoch) == list("012345") for epoch in epochs) and len({tuple(one) for one in epochs}) == 3
    assert [samples_of(data, shuffle=False)[n]["prompt"] for n in range(6)] == list("012345")
    again = samples_of(data)[7]
    assert torch.equal(again["hint"], samples[7]["hint"]) and again["prompt"] == samples[7]["prompt"]
    assert samples[0]["posterior"].item() == int(samples[0]["prompt"])
    assert (samples[0]["hint"].unique() == torch.tensor([0.0, 1.0])).all()
    samples = samples_of(rows(1), prompt_dropout=0.3)
    assert abs(sum(samples[n]["prompt"] == "" for n in range(400)) - 120) < 4 * (400 * 0.3 * 0.7) ** 0.5


def test_an_epoch_has_a_step_for_its_last_rows():
    settings = {"batch_size": 2, "gradient_accumulation": 1, "epochs": 3}
    assert control_training.schedule(settings, 5) == settings | {"epoch_steps": 3, "max_steps": 9}


@pytest.mark.parametrize("kind", ["hra", "controlnet"])
def test_every_method_learns_and_comes_back_merged(tmp_path, kind):
    run = Run(tmp_path, unet_method(kind))
    trainer = run.train()
    assert len(trainer.losses) == 3 and all(loss > 0 for loss in trainer.losses)
    sizes = control_model.count(run.trained, run.method)
    kept = sum(one.numel() for one in load_file(run.last).values())
    assert kept == sizes["trainable_parameters"] and sizes["adapter_parameters"] > 0
    noisy, times, context = inputs()
    merged = control_model.load_trained(MODEL, run.method, run.last)
    with torch.no_grad():
        expected = run.trained.eval()(noisy, times, context, hint=hints()).sample
        found = merged(noisy, times, context, hint=hints()).sample
        other = merged(noisy, times, context, hint=1 - hints()).sample
    assert torch.allclose(found, expected, atol=2e-4) and not torch.equal(found, other)
    assert not any("hra" in name for name, _ in merged.named_modules())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_error_is_that_of_the_noise_or_of_the_velocity(tmp_path, prediction):
    """Compare ε with m(√ā x₀ + √(1−ā) ε), or v = √ā ε − √(1−ā) x₀, depending on the scheduler; x₀ from the VAE."""
    run = Run(tmp_path, unet_method())
    trainer, context = run.trainer(), inputs(2)[2]
    schedule = trainer.architecture.noising
    trainer.architecture.noising = schedule.from_config(schedule.config, prediction_type=prediction)
    pictures = torch.stack([to_tensor(image) / 127.5 - 1 for image, *_ in rows(2)])

    def parts():
        return [{"pixels": one, "generator": torch.Generator().manual_seed(n)} for n, one in enumerate(pictures)]

    with torch.no_grad():
        found = trainer.errors(parts(), {"text": context}, hint=hints(2))
        again, encoded = parts(), trainer.architecture.vae.encode(pictures).latent_dist
        drawn = torch.stack([torch.randn(encoded.mean.shape[1:], generator=part["generator"]) for part in again])
        clean = (encoded.mean + encoded.std * drawn) * trainer.architecture.vae.config.scaling_factor
        noise = torch.stack([torch.randn(clean.shape[1:], generator=part["generator"]) for part in again])
        times = torch.stack([torch.randint(1000, (), generator=part["generator"]) for part in again])
        level = schedule.alphas_cumprod[times][:, None, None, None]
        noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
        target = noise if prediction == "epsilon" else level.sqrt() * noise - (1 - level).sqrt() * clean
        expected = (run.trained(noisy, times, context, hint=hints(2)).sample - target).square().mean((1, 2, 3))
    assert torch.allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("schedule", "warmup"), [("constant_with_warmup", 1), ("linear", 2), ("cosine", 0.25)])
def test_learning_rates(tmp_path, schedule, warmup):
    """Test warm-up in steps, or as a fraction of all steps."""
    run = Run(tmp_path, unet_method(), max_steps=8, schedule=schedule, warmup_steps=warmup, learning_rate=1.0)
    trainer, rates = run.trainer(), []
    trainer.loss = lambda _: rates.extend(trainer.schedule.get_last_lr()) or trainer.parameters[0].sum()
    trainer.train()
    left = [step / 6 for step in range(6)]
    after = {"linear": [1 - one for one in left], "cosine": [(1 + math.cos(math.pi * one)) / 2 for one in left]}
    start = [0.0, 1.0] if warmup == 1 else [0.0, 0.5]
    assert rates == pytest.approx([*start, *after.get(schedule, [1.0] * 6)])


def test_a_curve_has_the_means_of_its_intervals():
    trainer = SimpleNamespace(losses=[1.0, 3.0, 7.0], interval=2, settings={"epoch_steps": 2})
    assert diffusion_trainer.Trainer.curve(trainer) == [
        {"step": 2, "epoch": 1.0, "metrics": {"loss": 2.0}},
        {"step": 3, "epoch": 1.5, "metrics": {"loss": 7.0}},
    ]


def test_a_start_that_does_not_weaken_hints(tmp_path):
    """Variance 1 in, about variance 1 at the last convolution, where PyTorch's start leaves less than a thousandth."""
    noise = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    strengths = {}
    for start in ("torch", "unit-variance"):
        run = Run(tmp_path / start, unet_method(), hint_start=start)
        run.trainer()
        encoder, seen = run.trained.base_model.model.hint_encoder.modules_to_save["default"], []
        encoder.conv_out.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        assert not encoder(noise).any()  # training starts at the base model
        strengths[start] = seen[0].square().mean().item()
    assert 0.2 < strengths["unit-variance"] < 5 and strengths["torch"] < 1e-3


def processes_that_train(run: Run) -> int:
    return run.train().accelerator.num_processes


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path):
    """Compare the same effective batch; gradients are summed in a different order."""
    one, two = (Run(tmp_path / name, unet_method(), learning_rate=1e-3, max_steps=2) for name in ("one", "two"))
    one.train()
    two.start()
    assert on_two_ranks(processes_that_train, tmp_path, two) == [2, 2]
    first, second = (load_file(run.last) for run in (one, two))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-4), name


def test_precisions_of_a_training(tmp_path):
    for number, (settings, precision) in enumerate([({"tf32": True}, "high"), ({}, "highest")]):
        Run(tmp_path / str(number), unet_method(), **settings).trainer()
        assert torch.get_float32_matmul_precision() == precision
    run = Run(tmp_path, unet_method(), precision="bf16", max_steps=1)
    assert all(math.isfinite(loss) for loss in run.train().losses)
    parameters = [*run.trained.parameters()]
    assert {one.dtype for one in parameters if one.requires_grad} == {torch.float32}
    assert torch.bfloat16 in {one.dtype for one in parameters}
