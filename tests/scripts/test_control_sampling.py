"""Images from control images: LDM's time steps, explicit guidance, the same images from any shards and batches."""

import numpy
import pytest
import torch
from accelerate.state import AcceleratorState

from controlled import MODEL, SAMPLING, SIDE, Run, disc, rows, unet_method
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion, TextEncoder
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control import sampling as control_sampling


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Provide a run of each kind whose hint encoder has an effect."""
    runs = {}
    for kind in ("hra", "controlnet"):
        runs[kind] = Run(tmp_path_factory.mktemp(kind), unet_method(kind), learning_rate=5e-2)
        runs[kind].train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return runs


def sampler(run: Run, **sampling) -> control_sampling.Sampler:
    made = control_sampling.Sampler(MODEL, SAMPLING | sampling, "cpu")
    made.use(run.method, run.last)
    return made


def pixels(image) -> numpy.ndarray:
    return numpy.asarray(image, int)


def test_fifty_steps_are_ldm_s():
    """Compare with make_ddim_timesteps: range(0, 1000, 20) + 1; the last step ends at the first noise level."""
    scheduler = control_sampling.Sampler(MODEL, SAMPLING, "cpu").pipe.scheduler
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == list(range(981, 0, -20))
    assert scheduler.final_alpha_cumprod == scheduler.alphas_cumprod[0] and not scheduler.config.clip_sample


@pytest.mark.parametrize(
    ("kind", "prediction"), [("hra", "epsilon"), ("hra", "v_prediction"), ("controlnet", "v_prediction")]
)
def test_a_picture_is_ddim_with_guidance_and_the_hint_in_both_branches(trained, kind, prediction):
    """By hand: m = m(∅, hint) + g (m(text, hint) − m(∅, hint)); x' = √ā' x₀ + √(1−ā') e.

    A noise: e = m, x₀ = (x − √(1−ā) e)/√ā. A velocity: e = √ā m + √(1−ā) x, x₀ = √ā x − √(1−ā) m.
    """
    run, (_, prompt, hint) = trained[kind], rows(1)[0]
    made = sampler(run, inference_steps=4)
    made.pipe.scheduler = made.scheduler(made.pipe.scheduler.config | {"prediction_type": prediction})
    found = pixels(made.draw([prompt], [7], [hint])[0][0])

    model = control_model.load_trained(MODEL, run.method, run.last)
    text = TextEncoder(MODEL, "float32", "cpu")(["", prompt])
    shown = (to_tensor(hint) / 255)[None]
    levels = made.pipe.scheduler.alphas_cumprod
    x = torch.randn(1, 4, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        for time in (751, 501, 251, 1):
            free, guided = (model(x, torch.tensor([time]), one[None], hint=shown).sample for one in text)
            m = free + 9.0 * (guided - free)
            now, then = levels[time], levels[max(time - 250, 0)]
            if prediction == "epsilon":
                e, clean = m, (x - (1 - now).sqrt() * m) / now.sqrt()
            else:
                e, clean = now.sqrt() * m + (1 - now).sqrt() * x, now.sqrt() * x - (1 - now).sqrt() * m
            x = then.sqrt() * clean + (1 - then).sqrt() * e
        picture = made.pipe.vae.decode(x / made.pipe.vae.config.scaling_factor).sample[0]
    expected = ((picture.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round()
    assert abs(found - expected.numpy()).max() <= 1


@pytest.mark.parametrize("kind", ["hra", "controlnet"])
def test_hints_show_and_each_picture_has_its_own(trained, kind):
    made, prompt = sampler(trained[kind]), "a red ball"
    left, right = disc("white", "black", 16, 32), disc("white", "black", 48, 32)
    first, second = (pixels(image) for image, _ in made.draw([prompt] * 2, [0, 0], [left, right]))
    (alone, _), *_ = made.draw([prompt], [0], [right])
    assert abs(first - second).max() > 1 and abs(second - pixels(alone)).max() <= 1


def test_the_base_alone_pays_no_heed_to_hints(tmp_path):
    """Generate with kind `pretrained`, the reference row without control, through diffusers' own pipeline."""
    from safetensors.torch import save_file

    run = Run(tmp_path, unet_method("pretrained"))
    run.last.parent.mkdir(parents=True)
    save_file({}, run.last)
    made, (_, prompt, hint) = sampler(run), rows(1)[0]
    found = made.draw([prompt], [3], [hint])[0][0]
    pipe = made.pipe
    pipe.unet = StableDiffusion(MODEL).load()
    noise = torch.randn(1, 4, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(3))
    expected = pipe(prompt, height=SIDE, width=SIDE, num_inference_steps=2, guidance_scale=9.0, latents=noise).images[0]
    assert found.tobytes() == expected.tobytes()


def test_another_run_s_weights_take_the_place_of_the_first(trained, tmp_path):
    other = Run(tmp_path, unet_method(), seed=1)
    other.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    made, (_, prompt, hint) = sampler(trained["hra"]), rows(1)[0]
    first = made.draw([prompt], [0], [hint])[0][0]
    made.use(other.method, other.last)
    second = made.draw([prompt], [0], [hint])[0][0]
    made.use(trained["hra"].method, trained["hra"].last)
    again = made.draw([prompt], [0], [hint])[0][0]
    assert first.tobytes() == again.tobytes() != second.tobytes()
    assert second.tobytes() == sampler(other).draw([prompt], [0], [hint])[0][0].tobytes()


@pytest.mark.parametrize("kind", ["hra", "controlnet"])
def test_half_precision(trained, kind):
    made, (_, prompt, hint) = sampler(trained[kind], precision="bf16"), rows(1)[0]
    found = made.draw([prompt], [0], [hint])[0][0]
    assert abs(pixels(found) - pixels(sampler(trained[kind]).draw([prompt], [0], [hint])[0][0])).mean() < 16
    assert next(made.pipe.unet.parameters()).dtype == torch.bfloat16


def test_noise_on_the_way_is_the_picture_s_own(trained):
    """Check that with eta > 0 an image does not depend on its batch, but differs from eta = 0."""
    made, data = sampler(trained["hra"], eta=1.0), rows(2)
    both = made.draw([row[1] for row in data], [5, 6], [row[2] for row in data])
    alone = made.draw([data[1][1]], [6], [data[1][2]])
    plain = sampler(trained["hra"]).draw([data[1][1]], [6], [data[1][2]])
    assert (
        abs(pixels(both[1][0]) - pixels(alone[0][0])).max() <= 1 < abs(pixels(plain[0][0]) - pixels(alone[0][0])).max()
    )


def test_a_resolution_that_the_model_cannot_make_is_refused():
    with pytest.raises(JobError, match="resolution: expected a multiple of 16 pixels, found 60"):
        control_sampling.Sampler(MODEL, SAMPLING | {"resolution": 60}, "cpu")


def test_the_encoder_runs_once_a_batch(trained, monkeypatch):
    calls, plain = [], hint_encoder.encode
    monkeypatch.setattr(hint_encoder, "encode", lambda *call: calls.append(1) or plain(*call))
    made = sampler(trained["hra"], inference_steps=5)
    made.draw(["a ball"], [0], [rows(1)[0][2]])
    assert len(calls) == 1
    assert images.to_png(made.draw(["a ball"], [0], [rows(1)[0][2]])[0][0])
