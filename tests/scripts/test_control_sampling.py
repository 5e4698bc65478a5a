"""The hint encoder, its export, and images from control images by DDIM with guidance."""

import copy

import numpy
import pytest
import torch
from accelerate.state import AcceleratorState
from peft import PeftModel

import hra
from controlled import MODEL, SAMPLING, SIDE, Run, hints, inputs, rows, unet_method
from hra.__main__ import main
from hra_workflow.core.errors import JobError
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion, TextEncoder
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control import sampling as control_sampling

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def test_hints_reach_the_first_block_alone_of_every_row():
    """By hand: the encoded hint goes to conv_in's output. Guidance doubles the latents, not the hints."""
    torch.manual_seed(0)
    unet, (noisy, times, context) = control_model.load(MODEL, unet_method()), inputs()
    with torch.no_grad():
        for parameter in unet.hint_encoder.conv_out.parameters():
            parameter.normal_(std=0.1)  # instead of zero, so that hints show
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
def run(tmp_path_factory):
    """Provide a run whose hint encoder has an effect."""
    run = Run(tmp_path_factory.mktemp("hra"), unet_method(), learning_rate=5e-2)
    run.train([1])
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


def test_as_lora_a_run_keeps_its_hint_encoder_or_is_refused(run, tmp_path):
    last = str(run.folder / "run/last")
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


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_picture_is_ddim_with_guidance_and_the_hint_in_both_branches(run, prediction):
    """By hand: m = m(∅, hint) + g (m(text, hint) − m(∅, hint)); x' = √ā' x₀ + √(1−ā') e.

    A noise: e = m, x₀ = (x − √(1−ā) e)/√ā. A velocity: e = √ā m + √(1−ā) x, x₀ = √ā x − √(1−ā) m.
    """
    ((_, prompt, hint),) = rows(1)
    made = control_sampling.Sampler(MODEL, SAMPLING | {"inference_steps": 4}, "cpu")
    made.use(run.method, run.last)
    made.pipe.scheduler = made.scheduler(made.pipe.scheduler.config | {"prediction_type": prediction})
    found = numpy.asarray(made.draw([prompt], [7], [hint])[0][0], int)

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
