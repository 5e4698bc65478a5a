"""Exports of a control run, whose adapter has the hint encoder."""

import pytest
import torch
from accelerate.state import AcceleratorState
from peft import PeftModel

import hra
from controlled import MODEL, Run, hints, inputs, unet_method
from hra.__main__ import main
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.tasks.control import model as control_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Provide a run that has moved away from its initialisation."""
    run = Run(tmp_path_factory.mktemp("hra"), unet_method())
    run.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


def test_as_lora_a_run_keeps_its_hint_encoder(run, tmp_path):
    arguments = [str(run.folder / "run/last"), str(tmp_path / "out"), "--base", str(MODEL / "unet")]
    main(["to-lora", *arguments])
    lora = PeftModel.from_pretrained(control_model.load(MODEL, run.method), tmp_path / "out")
    with torch.no_grad():
        expected = control_model.load_trained(MODEL, run.method, run.last)(*inputs(), hint=hints()).sample
        assert torch.allclose(lora(*inputs(), hint=hints()).sample, expected, atol=1e-5)
        assert not torch.allclose(lora(*inputs(), hint=1 - hints()).sample, expected, atol=1e-3)


def test_a_run_without_its_hint_encoder_is_refused(run, tmp_path):
    arguments = [str(run.folder / "run/last"), str(tmp_path / "out"), "--base", str(MODEL / "unet")]
    with pytest.raises(SystemExit, match=r"12 weights such as base_model\.model\.hint_encoder\..*would lack them"):
        main(["merge", *arguments])
    bare = PeftModel.from_pretrained(StableDiffusion(MODEL).load(), run.folder / "run/last")
    with pytest.raises(ValueError, match=r"expected the module hint_encoder.*found none in PeftModel"):
        hra.to_lora(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()
