"""The sizes of `hra-workflow rehearse` are those of the published models."""

import pytest

import chat_models
from fakegpu.workflow import model_sizes, pipeline_sizes
from hra_workflow.models import causal_lm, diffusion, prompts
from support import paper_config

LANGUAGE = {  # parameters of the published weights
    "llama-3.2-3b": 3_212_749_824,
    "qwen3-0.6b": 596_049_920,
    "gemma-3-1b-it": 999_885_952,
}
IMAGES = {"stable-diffusion-xl-base-1.0": 2_567_463_684, "flux2-klein-base-4b": 3_875_544_576}


@pytest.mark.parametrize(("name", "parameters"), LANGUAGE.items())
def test_a_rehearsal_has_the_real_sizes(tmp_path, name, parameters):
    model_sizes.write(tmp_path, name)
    assert causal_lm.count_parameters(tmp_path) == parameters
    settings = chat_models.CHAT | {"arguments": {}}
    assert prompts.Prompt(settings, causal_lm.load_tokenizer(tmp_path), tmp_path).chat


@pytest.mark.parametrize(("name", "parameters"), IMAGES.items())
def test_the_sizes_of_a_rehearsal_are_the_model_s(tmp_path, name, parameters):
    pipeline_sizes.write(tmp_path, name)
    assert diffusion.architecture_name(tmp_path) == paper_config()["models"][name]["architecture"]
    network = diffusion.architecture_in(tmp_path).load(weights=False)
    assert sum(one.numel() for one in network.parameters()) == parameters
