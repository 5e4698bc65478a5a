"""Adapters of Stable Diffusion: export and merge, read by diffusers with its defaults."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from peft import HRAConfig, PeftModel, get_peft_model, inject_adapter_in_model
from safetensors.torch import load_file
from sidebyside import BIASES, close

import hra
from hra.__main__ import main
from hra.base_layer import HRALayer
from hra.loading import find_base
from own_code import recipe

PIPELINE = Path(__file__).parents[2] / "workflow/pictures-sd"
TARGETS = {"unet": ["to_q", "to_v", "conv1"], "text_encoder": ["q_proj", "fc1"]}


def load(folder: Path = PIPELINE) -> DiffusionPipeline:
    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def image(pipe) -> torch.Tensor:
    """Generate an image (3, 64, 64) in 0..1; the text encoder's effect is enlarged by guidance."""
    noise = torch.Generator().manual_seed(3)
    options = {"num_inference_steps": 2, "guidance_scale": 5.0, "generator": noise, "output_type": "pt"}
    return pipe("a red cup", height=64, width=64, **options).images[0]


def config(part: str, **others) -> HRAConfig:
    return hra.HRAConfig(r=4, init_weights=False, target_modules=TARGETS[part], **others)


@pytest.fixture(scope="module")
def before():
    return image(load())


def same(found: torch.Tensor, expected: torch.Tensor, before: torch.Tensor) -> None:
    """Assert that two images are equal up to rounding (text encoder: float16), and not the base model's."""
    assert (found - expected).abs().max() < 1e-3 < 1e-2 < (expected - before).abs().max()


@pytest.fixture
def adapter(tmp_path, part):
    """Save an adapter of one component; return its folder and the adapted pipeline's image."""
    pipe = load()
    model = get_peft_model(getattr(pipe, part), config(part))
    model.save_pretrained(tmp_path / "adapter")
    setattr(pipe, part, model.get_base_model())
    return tmp_path / "adapter", image(pipe)


@pytest.mark.parametrize(("part", "base"), [("unet", "part"), ("text_encoder", PIPELINE)])
def test_to_lora_is_read_by_load_lora_weights(adapter, before, tmp_path, part, base, capsys):
    folder, expected = adapter
    base = PIPELINE / part if base == "part" else base
    main(["to-lora", str(folder), str(tmp_path / "lora"), "--base", str(base)])
    assert "PeftModel.from_pretrained and load_lora_weights (" in capsys.readouterr().out
    pipe = load()
    pipe.load_lora_weights(tmp_path / "lora")
    same(image(pipe), expected, before)
    pipe.unload_lora_weights()
    setattr(pipe, part, PeftModel.from_pretrained(getattr(pipe, part), tmp_path / "lora").get_base_model())
    same(image(pipe), expected, before)


def test_two_components_are_loaded_one_after_the_other(before, tmp_path):
    pipe, other = load(), load()
    for part in TARGETS:
        inject_adapter_in_model(config(part), getattr(pipe, part))
        hra.to_lora(getattr(pipe, part), tmp_path / part)
        other.load_lora_weights(tmp_path / part, adapter_name=part)
    other.set_adapters(list(TARGETS))
    same(image(other), image(pipe), before)


def test_a_unet_in_the_layout_of_comfyui_gives_the_same_image(before, tmp_path):
    """The example of docs/your-own-code.md; diffusers also reads what its converter writes."""
    pipe = load()
    inject_adapter_in_model(config("unet"), pipe.unet)
    hra.to_lora(pipe.unet, tmp_path)
    expected, other = image(pipe), load()
    exec(recipe("comfyui.py").replace("OUT/", f"{tmp_path}/"), {})
    names = {key.partition(".")[2] for key in load_file(tmp_path / "comfyui.safetensors")}
    assert names == {"alpha", "lora_down.weight", "lora_up.weight"}
    other.load_lora_weights(tmp_path, weight_name="comfyui.safetensors")
    same(image(other), expected, before)


def test_the_methods_of_a_unet(tmp_path):
    unet = UNet2DConditionModel.from_pretrained(PIPELINE, subfolder="unet")
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([1]), torch.randn(1, 3, 96)
    before = unet(*inputs).sample
    unet.add_adapter(HRAConfig(r=4, target_modules=TARGETS["unet"]))
    close(unet(*inputs).sample, before, 288, c=32)
    for module in (layers := [one for one in unet.modules() if isinstance(one, HRALayer)]):
        module.reset_hra_parameters_random("default")
    after = unet(*inputs).sample
    assert {type(one).__name__ for one in layers} == {"Linear", "Conv2d"} and not torch.allclose(after, before)
    hra.to_lora(unet, tmp_path)
    loaded = UNet2DConditionModel.from_pretrained(PIPELINE, subfolder="unet")
    loaded.load_lora_adapter(tmp_path, prefix="unet", use_safetensors=True)
    close(loaded(*inputs).sample, after, 288, c=32)
    unet.disable_adapters()
    close(unet(*inputs).sample, before, 288, c=32)
    unet.enable_adapters()
    unet.fuse_lora()
    close(unet(*inputs).sample, after, 288, c=32)


@pytest.mark.parametrize(("part", "base"), [("unet", ""), ("text_encoder", ""), ("unet", "unet")])
def test_merge_writes_the_pipeline_or_the_component_that_is_the_base(adapter, before, tmp_path, part, base, capsys):
    folder, expected = adapter
    main(["merge", str(folder), str(tmp_path / "merged"), "--base", str(PIPELINE / base)])
    if base:
        pipe = load()
        pipe.unet = UNet2DConditionModel.from_pretrained(tmp_path / "merged")
    else:
        assert f": StableDiffusionPipeline, its {part} with " in capsys.readouterr().out
        pipe = load(tmp_path / "merged")
    same(image(pipe), expected, before)


@pytest.mark.parametrize("bias", BIASES)
def test_trained_biases_which_diffusers_cannot_load_are_written_for_peft_only(tmp_path, capsys, bias):
    model = get_peft_model(UNet2DConditionModel.from_pretrained(PIPELINE, subfolder="unet"), config("unet", bias=bias))
    model.save_pretrained(tmp_path / "adapter")
    main(["to-lora", str(tmp_path / "adapter"), str(tmp_path / "lora"), "--base", str(PIPELINE)])
    assert "layers, for PeftModel.from_pretrained (" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Invalid LoRA checkpoint"):
        load().load_lora_weights(tmp_path / "lora")


def test_a_pipeline_without_the_adapters_model_is_refused(tmp_path):
    get_peft_model(load().unet, config("unet")).save_pretrained(tmp_path / "adapter")
    index = json.loads((PIPELINE / "model_index.json").read_text())
    (tmp_path / "other").mkdir()
    for names, found in (((), "none"), (("unet", "unet_2"), "unet, unet_2")):
        parts = {key: value for key, value in index.items() if key != "unet"} | dict.fromkeys(names, index["unet"])
        (tmp_path / "other/model_index.json").write_text(json.dumps(parts))
        with pytest.raises(SystemExit, match=rf"one UNet2DConditionModel, found {found}\. Pass the component's folder"):
            main(["to-lora", str(tmp_path / "adapter"), str(tmp_path / "out"), "--base", str(tmp_path / "other")])


def test_a_pipeline_on_the_hub_is_recognised_by_its_index(tmp_path, monkeypatch):
    get_peft_model(load().unet, config("unet")).save_pretrained(tmp_path / "adapter")
    cached = tmp_path / "cache/models--someone--pictures"
    (cached / "snapshots/abc").mkdir(parents=True)
    shutil.copy(PIPELINE / "model_index.json", cached / "snapshots/abc")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found = find_base(str(tmp_path / "adapter"), "someone/pictures")
    assert (found.pipeline, found.component, found.cls) == (True, "unet", UNet2DConditionModel)
