"""The demo's Stable Diffusion: module names, tokenizer, weights."""

from random import Random

import pytest
import torch

from hra_workflow.demo import object_images, prompt_fidelity
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
def committed():
    return load(MODEL)


def test_tokenizer(committed):
    """Known words are one token each, others are spelled; all of it comes back."""
    tokenizer = committed.tokenizer
    tokens = tokenizer.tokenize(SENTENCE)
    assert [token.removesuffix("</w>") for token in tokens] == SENTENCE.lower().replace(",", " ,").split()
    for text in (" ".join(object_images.WORDS), "a photo of qwe ball", "été λ 7"):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True).split() == text.split()
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in tokenizer("qwe")["input_ids"][1:-1]
    assert len(tokenizer("word " * 100, truncation=True).input_ids) == tokenizer.model_max_length


@pytest.mark.slow
def test_the_committed_model(committed):
    """Prompts steer the colours of object and background, and the place."""
    assert sum(path.stat().st_size for path in MODEL.rglob("*.safetensors")) <= 10e6
    rng = Random(1)
    scenes = [scene for scene in (object_images.scene(rng) for _ in range(20)) if not scene.name][:10]
    prompts = [object_images.caption(scene) for scene in scenes]
    shown = committed(
        prompts, num_inference_steps=15, guidance_scale=4.0, generator=torch.Generator().manual_seed(0)
    ).images
    found = [prompt_fidelity.checks(*pair) for pair in zip(shown, prompts, strict=True)]
    for name in ("background", "colours", "place"):
        assert sum(checks[name] for checks in found) >= 8, name
