"""The hint encoder: sizes, where hints go, what is refused."""

import copy

import pytest
import torch

from controlled import MODEL, hints, inputs, unet_method, waken
from hra_workflow.models import adapters
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def test_sizes_are_the_paper_s():
    """Check Stable Diffusion 1.5: 0.89 M parameters for HRA with r = 8, and the encoder 3-16-16-32-32-96-96-256-320."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        hint_encoder.attach(unet, 8)
        model = adapters.insert(unet, unet_method(peft={"r": 8}), [hint_encoder.NAME])
    sizes = control_model.count(model, unet_method())
    assert sizes["adapter_parameters"] == 895_488
    assert sizes["trainable_parameters"] == 895_488 + 1_086_480
    encoder = unet.hint_encoder.modules_to_save["default"]
    layers = [encoder.conv_in, *encoder.blocks, encoder.conv_out]
    assert [layers[0].in_channels, *(one.out_channels for one in layers)] == [3, 16, 16, 32, 32, 96, 96, 256, 320]


def test_at_the_start_a_hint_changes_no_bit(unet):
    plain = StableDiffusion(MODEL).load()
    with torch.no_grad():
        expected = plain(*inputs()).sample
        assert torch.equal(unet(*inputs(), hint=hints()).sample, expected)
        adapted = adapters.insert(unet, unet_method(), control_model.head(unet_method()))
        # The rotations' start is the identity up to rounding, so the comparison is with the same adapters.
        assert torch.equal(adapted(*inputs(), hint=hints()).sample, adapted(*inputs()).sample)


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


def test_a_copy_of_the_unet_has_hints_of_its_own(unet):
    waken(unet)
    other = copy.deepcopy(unet)
    with torch.no_grad(), hint_encoder.cached_hint(other, hints()):
        assert not torch.equal(other(*inputs()).sample, unet(*inputs()).sample)


def test_a_hint_is_forgotten_after_an_error(unet):
    waken(unet)
    noisy, times, context = inputs()
    with torch.no_grad():
        with pytest.raises(RuntimeError):
            unet(noisy, times, context[..., :5], hint=hints())
        assert unet.conv_in.encoded is None
