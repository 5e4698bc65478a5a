"""The hint encoder, and images from control images: LDM's time steps, guidance, the same images from any batches."""

import copy

import numpy
import pytest
import torch
from accelerate.state import AcceleratorState
from peft import PeftModel

import hra
from controlled import MODEL, SAMPLING, SIDE, Run, hints, inputs, rows, unet_method, waken
from hra.__main__ import main
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion, TextEncoder
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control import sampling as control_sampling

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def test_sizes_are_the_paper_s():
    """Check Stable Diffusion 1.5: 0.89 M parameters for HRA with r = 8, and the encoder 3-16-16-32-32-96-96-256-320."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        hint_encoder.attach(unet, 8)
        model = adapters.insert(unet, unet_method(peft={"r": 8}), [hint_encoder.NAME])
    sizes = control_model.count(model, unet_method())
    assert sizes["adapter_parameters"] == 895_488  # published: 0.89 M
    assert sizes["trainable_parameters"] == 895_488 + 1_086_480
    encoder = unet.hint_encoder.modules_to_save["default"]
    layers = [encoder.conv_in, *encoder.blocks, encoder.conv_out]
    assert [layers[0].in_channels, *(one.out_channels for one in layers)] == [3, 16, 16, 32, 32, 96, 96, 256, 320]


def test_hints_reach_the_first_block_alone_of_every_row(unet):
    """By hand: the encoded hint goes to conv_in's output. Guidance doubles the latents, not the hints."""
    waken(unet)
    noisy, times, context = inputs()
    with torch.no_grad():
        encoded = unet.hint_encoder(hints())
        assert abs(encoded).max() > 0.01
        plain = copy.deepcopy(StableDiffusion(MODEL).load())
        plain.conv_in.register_forward_hook(lambda *call: call[2] + encoded)
        expected = plain(noisy, times, context).sample
        found = unet(noisy, times, context, hint=hints()).sample
        assert torch.equal(found, expected) and not torch.equal(found, unet(noisy, times, context).sample)
        with hint_encoder.cached_hint(unet, hints(2)):
            doubled = unet(noisy, times, context).sample
        # Two hints are encoded here and four there: rounding may differ.
        repeated = unet(noisy, times, context, hint=hints(2)[[0, 1, 0, 1]]).sample
        assert torch.allclose(doubled, repeated, atol=2e-5) and not torch.allclose(doubled, found, atol=2e-5)
        for row in range(4):
            one = unet(noisy[[row]], times[[row]], context[[row]], hint=hints()[[row]]).sample
            assert torch.allclose(one, found[[row]], atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Provide a run of each kind whose hint encoder has an effect."""
    runs = {}
    for kind in ("hra", "controlnet"):
        runs[kind] = Run(tmp_path_factory.mktemp(kind), unet_method(kind), learning_rate=5e-2)
        runs[kind].train([1])
    AcceleratorState._reset_state(reset_partial_state=True)
    return runs


def test_as_lora_a_run_keeps_its_hint_encoder_or_is_refused(trained, tmp_path):
    run, last = trained["hra"], str(trained["hra"].folder / "run/last")
    main(["to-lora", last, str(tmp_path / "out"), "--base", str(MODEL / "unet")])
    lora = PeftModel.from_pretrained(control_model.load(MODEL, run.method), tmp_path / "out")
    with torch.no_grad():
        expected = control_model.load_trained(MODEL, run.method, run.last)(*inputs(), hint=hints()).sample
        assert torch.allclose(lora(*inputs(), hint=hints()).sample, expected, atol=1e-5)
        assert not torch.allclose(lora(*inputs(), hint=1 - hints()).sample, expected, atol=1e-3)
    with pytest.raises(SystemExit, match=r"12 weights such as base_model\.model\.hint_encoder\..*would lack them"):
        main(["merge", last, str(tmp_path / "merged"), "--base", str(MODEL / "unet")])
    bare = PeftModel.from_pretrained(StableDiffusion(MODEL).load(), last)
    with pytest.raises(ValueError, match=r"expected the module hint_encoder.*found none in PeftModel"):
        hra.to_lora(bare, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def sampler(run: Run, **sampling) -> control_sampling.Sampler:
    made = control_sampling.Sampler(MODEL, SAMPLING | sampling, "cpu")
    made.use(run.method, run.last)
    return made


def pixels(image) -> numpy.ndarray:
    return numpy.asarray(image, int)


@pytest.mark.parametrize(("kind", "prediction"), [("hra", "epsilon"), ("controlnet", "v_prediction")])
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


def test_a_resolution_that_the_model_cannot_make_is_refused():
    with pytest.raises(JobError, match="resolution: expected a multiple of 16 pixels, found 60"):
        control_sampling.Sampler(MODEL, SAMPLING | {"resolution": 60}, "cpu")
