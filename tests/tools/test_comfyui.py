"""Exported adapters in ComfyUI: the names of docs/your-own-code.md, and the weights that its own code computes."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from diffusers import Flux2Transformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from peft import HRAConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import hra
from diffusion_models import CLIP, SIZES
from own_code import recipe

# Sizes that its classes allow: 32 groups of channels, a width of 64 times the depth (SD 3), heads of 128 (FLUX.2).
WIDE = {"block_out_channels": [64, 128], "norm_num_groups": 32}
XL = {"use_linear_projection": True, "addition_embed_type": "text_time"}
MMDIT = {"num_layers": 2, "attention_head_dim": 64, "caption_projection_dim": 128, "qk_norm": "rms_norm"}
KLEIN = {"num_attention_heads": 1, "attention_head_dim": 128, "axes_dims_rope": [32] * 4}


def denoiser(kind: type, model: str, component: str, **others) -> nn.Module:
    return kind(**SIZES[model][component] | others)


def text_encoder(kind: type) -> nn.Module:
    return kind(CLIPTextConfig(**CLIP | {"num_hidden_layers": 3}))  # ComfyUI reads the last but one


MODELS = {  # model -> component -> a function that builds it
    "sd15": {
        "unet": lambda: denoiser(UNet2DConditionModel, "stable-diffusion-v1-5-pruned", "unet", **WIDE),
        "text_encoder": lambda: text_encoder(CLIPTextModel),
    },
    "sdxl": {
        "unet": lambda: denoiser(UNet2DConditionModel, "stable-diffusion-xl-base-1.0", "unet", **WIDE, **XL),
        "text_encoder": lambda: text_encoder(CLIPTextModel),
        "text_encoder_2": lambda: text_encoder(CLIPTextModelWithProjection),
    },
    "sd35": {
        "transformer": lambda: denoiser(SD3Transformer2DModel, "stable-diffusion-3.5-medium", "transformer", **MMDIT),
        "text_encoder": lambda: text_encoder(CLIPTextModelWithProjection),
        "text_encoder_2": lambda: text_encoder(CLIPTextModelWithProjection),
    },
    "flux2": {"transformer": lambda: denoiser(Flux2Transformer2DModel, "flux2-klein-base-4b", "transformer", **KLEIN)},
}


def exported(name: str, folder: Path) -> tuple[list[str], dict, dict]:
    """Write the LoRA of random adapters on all layers for ComfyUI; return the layers, and the weights W and W H."""
    layers, before, merged, lora = [], {}, {}, {}
    for component, build in MODELS[name].items():
        model = build()
        adapted = [
            layer
            for layer, module in model.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d) and layer not in ("conv_in", "conv_out", "text_projection")
        ]
        config = HRAConfig(r=4, target_modules=adapted, init_weights=False)
        inject_adapter_in_model(config, model)
        hra.to_lora(model, folder / "lora", component=component)
        lora |= load_file(folder / "lora/pytorch_lora_weights.safetensors")
        for layer in adapted:
            key, module = f"{component}.{layer.removeprefix('text_model.')}.weight", model.get_submodule(layer)
            before[key] = module.get_base_layer().weight.detach().clone()
            module.merge()
            merged[key] = module.get_base_layer().weight.detach()
        layers += [f"{component}.{layer}" for layer in adapted]
    save_file(lora, folder / "pytorch_lora_weights.safetensors")
    exec(recipe("comfyui.py").replace("OUT/", f"{folder}/"), {})
    return layers, before, merged


@pytest.mark.parametrize("name", MODELS)
def test_the_names_are_those_that_comfyui_reads(name, tmp_path):
    """Names of Comfy-Org/ComfyUI at 783545f, comfy/lora.py and comfy/utils.py; FLUX.2's also of Nerogar/OneTrainer."""
    layers, _, _ = exported(name, tmp_path)
    names = {re.sub(r"\.(alpha|lora_.*)$", "", key) for key in load_file(tmp_path / "comfyui.safetensors")}
    expected = {re.sub(r"^(text_encoder(?:_2)?)\.(?:text_model\.)?", r"\1.text_model.", layer) for layer in layers}
    if name == "sd35":  # needs no conversion
        assert names == set(layers)
    if name in ("sd15", "sdxl"):
        prefixes = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
        split = [layer.split(".", 1) for layer in expected]
        expected = {f"{prefixes[component]}_{layer.replace('.', '_')}" for component, layer in split}
    if name == "flux2":
        shared = {layer for layer in expected if "modulation" in layer or "time_guidance" in layer}
        expected -= shared
        expected |= {f"diffusion_model.double_stream_modulation_{part}.lin" for part in ("img", "txt")}
        expected |= {"diffusion_model.single_stream_modulation.lin"}
        expected |= {f"diffusion_model.{part}_in.{end}_layer" for part in ("time", "guidance") for end in ("in", "out")}
        assert len(shared) == 7
    assert names == expected


@pytest.mark.full
@pytest.mark.parametrize("tool", ["comfyui"], indirect=True)
def test_comfyui_loads_every_key_and_computes_w_h(tool, sources, tmp_path):
    source = sources(
        "COMFYUI",
        "Comfy-Org/ComfyUI",
        "783545f689a0af730065994b46b382ae24844c99",
        *("comfy", "comfy_api", "comfy_execution", "utils"),
    )
    expected = {}
    for name in MODELS:
        folder = tmp_path / name
        folder.mkdir()
        _, before, expected[name] = exported(name, folder)
        save_file(before, folder / "weights.safetensors")
        assert all((before[key] - weight).abs().max() > 1e-3 for key, weight in expected[name].items())
    subprocess.run([tool, Path(__file__).with_name("comfyui_patched.py"), source, tmp_path], check=True)
    for name, merged in expected.items():
        assert json.loads((tmp_path / name / "unloaded.json").read_text()) == []
        found = load_file(tmp_path / name / "patched.safetensors")
        assert found.keys() == merged.keys()
        for key, weight in merged.items():
            torch.testing.assert_close(found[key], weight, rtol=0, atol=1e-5)
