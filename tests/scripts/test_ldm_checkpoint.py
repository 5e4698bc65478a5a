"""Reading of single-file checkpoints: conversion, comparison with diffusers' own loader, invalid files."""

import pickle
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
SMALL = diffusion_models.source(
    "stable-diffusion-v1-5-pruned",
    unet=LEVELS
    | {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
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


@pytest.fixture
def written(tiny, tmp_path):
    path = tmp_path / "model.ckpt"
    ldm_files.write(ldm_files.layout(tiny), path)
    return path


def read(path: Path, folder: Path = MODEL):
    return ldm_checkpoint.pipeline(ldm_checkpoint.read(path), folder, path)


def test_a_model_s_folder_in_either_layout(tiny, tmp_path):
    """Build a downloaded folder: the config files next to one checkpoint file."""
    one, out = tmp_path / "one", tmp_path / "out"
    shutil.copytree(MODEL, one, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(JobError, match=r"expected diffusers' layout .* found 0 \(none\)"):
        ldm_checkpoint.diffusers_folder(one, out)
    ldm_files.write(ldm_files.layout(tiny), one / "v1-5-pruned.ckpt")
    assert ldm_checkpoint.diffusers_folder(MODEL, out) == MODEL and not out.exists()
    assert ldm_checkpoint.diffusers_folder(one, out) == out
    assert same_weights(tiny, StableDiffusionPipeline.from_pretrained(out, dtype=torch.float32))
    (one / "second.safetensors").touch()
    with pytest.raises(JobError, match=r"found 2 \(second.safetensors, v1-5-pruned.ckpt\)"):
        ldm_checkpoint.diffusers_folder(one, out)


def test_diffusers_own_loader_reads_the_same(small, tmp_path):
    """Build a narrow Stable Diffusion 1.5: four levels of two layers, and attention in the autoencoder."""
    pipeline, folder = small
    for suffix in ("ckpt", "safetensors"):
        path = tmp_path / f"model.{suffix}"
        ldm_files.write(ldm_files.layout(pipeline), path)
        theirs = StableDiffusionPipeline.from_single_file(str(path), config=str(folder), local_files_only=True)
        assert same_weights(pipeline, theirs) and same_weights(pipeline, read(path, folder))


def test_the_names_are_those_of_the_published_file(small):
    """Check one key of each type in v1-5-pruned.ckpt, and their numbers: 686 in the UNet, 248 in the autoencoder."""
    state = ldm_files.layout(small[0])
    for name in (
        "model.diffusion_model.time_embed.2.bias",
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_out.0.bias",
        "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.ff.net.0.proj.weight",
        "model.diffusion_model.input_blocks.4.0.skip_connection.weight",
        "model.diffusion_model.input_blocks.9.0.op.weight",
        "model.diffusion_model.input_blocks.11.0.emb_layers.1.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
        "model.diffusion_model.middle_block.2.out_layers.3.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.output_blocks.11.1.norm.weight",
        "model.diffusion_model.out.2.bias",
        "first_stage_model.encoder.down.2.downsample.conv.weight",
        "first_stage_model.encoder.mid.attn_1.proj_out.weight",
        "first_stage_model.decoder.mid.block_2.norm1.bias",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "first_stage_model.decoder.up.0.block.2.conv2.weight",
        "first_stage_model.post_quant_conv.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.k_proj.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
    ):
        assert name in state, name
    assert sum(name.startswith(ldm_files.UNET) for name in state) == 686
    assert sum(name.startswith(ldm_files.AUTOENCODER) for name in state) == 248
    assert state["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (32, 32, 1, 1)


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


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "state"])
def test_a_malicious_pickle_is_refused_and_not_run(tiny, tmp_path, how):
    path, mark = tmp_path / "model.ckpt", tmp_path / "was-here"
    content = ldm_files.layout(tiny) | {"extra": Malicious(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content["extra"]))
    else:
        content = {"state_dict": content} if how == "state" else content
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    with pytest.raises(JobError, match="expected only tensors, found objects that could execute code") as refused:
        ldm_checkpoint.read(path)
    assert not mark.exists() and (how in ("pickle", "legacy") or "Path" in str(refused.value))
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_a_file_cut_off_is_refused(tiny, tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    ldm_files.write(ldm_files.layout(tiny), path)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(JobError, match=r"found a truncated or corrupted one|not a file of torch\.save"):
            ldm_checkpoint.read(path)


UNET_CONV = "model.diffusion_model.input_blocks.0.0.weight"
ATTENTION = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop(ATTENTION), "weights are missing"),
        (lambda state: state.update({f"{ATTENTION}s": state.pop(ATTENTION)}), "weights are missing"),
        (lambda state: state.update({f"{ATTENTION}s": torch.zeros(1)}), r"expected \d+ weights of the unet, found \d+"),
        (lambda state: state.pop("first_stage_model.decoder.conv_out.bias"), "weights are missing"),
        (
            lambda state: state.pop(f"{ldm_files.TEXT}final_layer_norm.bias"),
            r"found \d+, without final_layer_norm\.bias",
        ),
        (lambda state: state.update({UNET_CONV: torch.zeros(9, 4, 3, 3)}), r"conv_in.weight .*9, 4, 3, 3"),
    ],
)
def test_missing_unexpected_and_misshapen_weights_are_refused(written, change, problem):
    state = torch.load(written, weights_only=True)
    change(state)
    torch.save(state, written)
    with pytest.raises(JobError, match=rf"does not match the config files: .*{problem}.* Use this model's config"):
        read(written)
