"""Reading of single-file checkpoints: conversion, comparison with diffusers' own loader, invalid files."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

import diffusion_models
import ldm_files
from controlled import MODEL, same_weights
from hra_workflow.core.errors import JobError
from hra_workflow.models import ldm_checkpoint
from support import lightning_callback

# Stable Diffusion 1.5's numbers of levels and layers, with its autoencoder's attention.
LEVELS = {"block_out_channels": [8, 16, 32, 32], "layers_per_block": 2}
DOWN, UP = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
SMALL = diffusion_models.source(
    "stable-diffusion-v1-5-pruned",
    unet=LEVELS | {"down_block_types": DOWN, "up_block_types": UP},
    vae=LEVELS | {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4},
)


@pytest.fixture(scope="module")
def tiny():
    return StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small")
    diffusion_models.write(folder, SMALL["model"], SMALL["sizes"])
    return StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32), folder


def read(path: Path, folder: Path = MODEL):
    return ldm_checkpoint.pipeline(ldm_checkpoint.read(path), folder, path)


def test_a_model_s_folder_has_one_checkpoint_or_diffusers_layout(tmp_path):
    """Build a downloaded folder: the config files next to the checkpoint. Its conversion: test_control_scripts.py."""
    one, out = tmp_path / "one", tmp_path / "out"
    shutil.copytree(MODEL, one, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(JobError, match=r"expected diffusers' layout .* found 0 \(none\)"):
        ldm_checkpoint.convert(one, out)
    (one / "v1-5-pruned.ckpt").touch()
    ldm_checkpoint.convert(MODEL, out)
    assert not out.exists()
    (one / "second.safetensors").touch()
    with pytest.raises(JobError, match=r"found 2 \(second.safetensors, v1-5-pruned.ckpt\)"):
        ldm_checkpoint.convert(one, out)


def test_diffusers_own_loader_reads_the_same(small, tmp_path):
    """Build a narrow Stable Diffusion 1.5: four levels of two layers, and attention in the autoencoder."""
    pipeline, folder = small
    for suffix in ("ckpt", "safetensors"):
        path = tmp_path / f"model.{suffix}"
        ldm_files.write(ldm_files.layout(pipeline), path)
        theirs = StableDiffusionPipeline.from_single_file(str(path), config=str(folder), local_files_only=True)
        assert same_weights(pipeline, theirs) and same_weights(pipeline, read(path, folder))


def test_ema_weights_in_the_file_are_not_used(small, tmp_path):
    pipeline, folder = small
    state = ldm_files.layout(pipeline)
    averages = {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}": value + 1
        for name, value in state.items()
        if name.startswith(ldm_files.UNET)
    }
    path = tmp_path / "model.safetensors"
    ldm_files.write(state | averages, path)
    assert same_weights(pipeline, read(path, folder))


def test_lightning_s_bookkeeping_does_no_harm(tiny, tmp_path, monkeypatch):
    """Check that Lightning, whose class is a dict key in the published files, need not be installed."""
    safe = set(torch.serialization.get_safe_globals())
    with monkeypatch.context() as patch:
        stored = lightning_callback(patch)
        path = tmp_path / "model.ckpt"
        torch.save({"epoch": 3, "callbacks": {stored: {"best": 0.1}}, "state_dict": ldm_files.layout(tiny)}, path)
    assert same_weights(tiny, read(path))
    assert set(torch.serialization.get_safe_globals()) == safe


class Malicious:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tiny, tmp_path, zipped):
    path, mark = tmp_path / "model.ckpt", tmp_path / "was-here"
    content = {"state_dict": ldm_files.layout(tiny) | {"extra": Malicious(mark)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(JobError, match="expected only tensors, found objects that could execute code"):
        ldm_checkpoint.read(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have


UNET_CONV = "model.diffusion_model.input_blocks.0.0.weight"
ATTENTION = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop(ATTENTION), "weights are missing"),
        (lambda state: state.update({f"{ATTENTION}s": torch.zeros(1)}), r"expected \d+ weights of the unet, found \d+"),
        (lambda state: state.pop("first_stage_model.decoder.conv_out.bias"), "weights are missing"),
        (lambda state: state.pop(f"{ldm_files.TEXT}final_layer_norm.bias"), r"without final_layer_norm\.bias"),
        (lambda state: state.update({UNET_CONV: torch.zeros(9, 4, 3, 3)}), r"conv_in.weight .*9, 4, 3, 3"),
    ],
)
def test_missing_unexpected_and_misshapen_weights_are_refused(tiny, change, problem):
    state = ldm_files.layout(tiny)
    change(state)
    with pytest.raises(JobError, match=rf"does not match the config files: .*{problem}.* Use this model's config"):
        ldm_checkpoint.pipeline(state, MODEL, Path("model.ckpt"))
