"""The demo's Stable Diffusion: architecture, tokenizer, committed weights."""

from random import Random

import pytest
import torch

from hra_workflow.demo import object_images, prompt_fidelity, tiny_diffusion
from support import ROOT

MODEL = ROOT / "workflow/pictures-sd"
SENTENCE = "A photo of a red and blue striped ball with eyes on the left, on a green background"


def load(folder):
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_diffusion.write(folder, seed=0)
    return load(folder)


def test_the_same_weights_for_the_same_seed(tiny, tmp_path):
    tiny_diffusion.write(tmp_path, seed=0)
    again = load(tmp_path)
    for part in ("unet", "vae", "text_encoder"):
        state, other = (getattr(pipeline, part).state_dict() for pipeline in (tiny, again))
        assert all((state[name] == other[name]).all() for name in state)
    first, second = (pipeline.tokenizer.backend_tokenizer.to_str() for pipeline in (tiny, again))
    assert first == second


def test_sizes_are_the_config_s(tmp_path):
    config = {"unet": {"block_out_channels": [8, 8, 16]}, "vae": {"block_out_channels": [8, 8]}}
    tiny_diffusion.write(tmp_path, config)
    pipeline = load(tmp_path)
    assert pipeline.unet.config.block_out_channels == [8, 8, 16]
    assert pipeline.vae.config.sample_size == 32 and pipeline.unet.config.sample_size == 16


def test_the_adapters_find_stable_diffusion_s_module_names(tiny):
    """Check for to_q, to_k, to_v and to_out.0 of attn1 and attn2 in down, middle and up blocks."""
    names = [name for name, module in tiny.unet.named_modules() if type(module).__name__ == "Linear"]
    for attention in ("attn1", "attn2"):
        for target in ("to_q", "to_k", "to_v", "to_out.0"):
            found = [name for name in names if name.endswith(f"{attention}.{target}")]
            assert {name.split("_")[0] for name in found} == {"down", "mid", "up"}


def test_it_draws(tiny):

    def drawn():
        generator = torch.Generator().manual_seed(0)
        return tiny(SENTENCE, num_inference_steps=2, generator=generator).images[0]

    assert drawn().size == (64, 64) and drawn().tobytes() == drawn().tobytes()


def test_scheduler_as_in_stable_diffusion(tiny):
    config = tiny.scheduler.config
    assert (config.beta_schedule, config.beta_start, config.beta_end) == ("scaled_linear", 0.00085, 0.012)
    assert config.prediction_type == "epsilon" and config.num_train_timesteps == 1000


def test_tokenizer(tiny):
    """Known words are one token each, others are spelled; all of it comes back."""
    tokenizer = tiny.tokenizer
    tokens = tokenizer.tokenize(SENTENCE)
    assert [token.removesuffix("</w>") for token in tokens] == SENTENCE.lower().replace(",", " ,").split()
    for text in (" ".join(object_images.WORDS), "a photo of qwe ball", "été λ 7"):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True).split() == text.split()
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in tokenizer("qwe")["input_ids"][1:-1]
    assert len(tokenizer("word " * 100, truncation=True).input_ids) == tokenizer.model_max_length


@pytest.mark.slow
def test_the_committed_model():
    """Prompts steer the colours of object and background, and the place."""
    assert sum(path.stat().st_size for path in MODEL.rglob("*.safetensors")) <= 10e6
    rng = Random(1)
    scenes = [scene for scene in (object_images.scene(rng) for _ in range(20)) if not scene.name][:10]
    prompts = [object_images.caption(scene) for scene in scenes]
    shown = load(MODEL)(
        prompts, num_inference_steps=15, guidance_scale=4.0, generator=torch.Generator().manual_seed(0)
    ).images
    found = [prompt_fidelity.checks(*pair) for pair in zip(shown, prompts, strict=True)]
    for name in ("background", "colours", "place"):
        assert sum(checks[name] for checks in found) >= 8, name
