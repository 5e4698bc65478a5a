"""The code of docs/your-own-code.md for diffusers: training scripts, a loop, and exported adapters in a pipeline."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

import hra
from diffusion_models import SIZES, write
from own_code import blocks, recipe
from support import ROOT

PIPELINE = ROOT / "workflow/pictures-sd"
EDIT, PENALTY = blocks("diffusers", "bash")
(LOOP,) = blocks("diffusers")
CHECKPOINT = recipe("diffusers_adapter.py")
SEVERAL = """
pipe = DiffusionPipeline.from_pretrained("MODEL")
pipe.enable_lora_hotswap(target_rank=16)  # the largest rank of all, before the first is loaded
pipe.load_lora_weights("OUT", adapter_name="cup")
pipe.load_lora_weights("STYLE", adapter_name="style")
pipe.set_adapters(["cup", "style"], [1.0, 0.8])
pipe.load_lora_weights("OTHER", adapter_name="cup", hotswap=True)  # the same layers as OUT
"""
SCRIPT = "train_dreambooth_lora.py"
FLUX2 = SIZES["flux2-klein-base-4b"]
QWEN3 = FLUX2["text_encoder"] | {"num_hidden_layers": 28}  # the script reads the states of layers 9, 18 and 27
OTHERS = {  # script -> model, its sizes (None: that of the demo), the trained component and options
    "train_dreambooth_lora_sdxl.py": ("stable-diffusion-xl-base-1.0", {}, "unet", ["--train_text_encoder"]),
    "train_dreambooth_lora_sd3.py": ("stable-diffusion-3.5-medium", {}, "transformer", []),
    "train_dreambooth_lora_flux2_klein.py": (
        "flux2-klein-base-4b",
        {"text_encoder": QWEN3},
        "transformer",
        ["--text_encoder_out_layers", "9", "18", "27"],
    ),
    "train_text_to_image_lora.py": (None, {}, "unet", ["--snr_gamma", "5", "--mixed_precision", "bf16"]),
}


def load() -> StableDiffusionPipeline:
    return DiffusionPipeline.from_pretrained(PIPELINE)


def image(pipe) -> torch.Tensor:
    pipe.to(torch.float32).set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(3)
    options = {"num_inference_steps": 2, "guidance_scale": 5.0, "generator": noise, "output_type": "pt"}
    return pipe("a red cup", height=64, width=64, **options).images[0]


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() < 1e-4 < 1e-2 < (expected - image(load())).abs().max()


def adapted(r: int = 8, targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")) -> StableDiffusionPipeline:
    pipe = load()
    pipe.unet.add_adapter(peft.HRAConfig(r=r, target_modules=list(targets), init_weights=False))
    return pipe


def test_a_checkpoint_becomes_an_adapter(tmp_path):
    pipe = adapted()
    vectors = peft.get_peft_model_state_dict(pipe.unet)
    StableDiffusionPipeline.save_lora_weights(tmp_path / "OUT/checkpoint-500", unet_lora_layers=vectors)
    other = load()
    with pytest.raises(ValueError, match="Invalid LoRA checkpoint"):
        other.load_lora_weights(tmp_path / "OUT/checkpoint-500")
    exec(filled(CHECKPOINT, tmp_path), names := {})
    same(image(names["pipe"]), image(pipe))
    other.unet = peft.PeftModel.from_pretrained(other.unet, tmp_path / "ADAPTER").get_base_model()
    same(image(other), image(pipe))


def test_a_loop_trains_the_adapter_only_and_exports_it(tmp_path):
    def train() -> None:
        pipe, optimizer = names["pipe"], names["optimizer"]
        inputs = torch.randn(1, 4, 8, 8), torch.tensor([1]), torch.randn(1, 3, 96)
        pipe.unet(*inputs).sample.square().mean().backward()
        optimizer.step()

    names = {"peft": peft, "hra": hra, "torch": torch, "DiffusionPipeline": DiffusionPipeline, "train": train}
    exec(filled(LOOP, tmp_path).replace("...  # train", "train()").replace("lr=1e-3", "lr=0.1"), names)
    assert {name.split(".")[-2] for name, one in names["pipe"].unet.named_parameters() if one.requires_grad} == {
        "hra_u"
    }
    pipe = load()
    pipe.load_lora_weights(tmp_path / "OUT")
    same(image(pipe), image(names["pipe"]))


def test_exported_adapters_are_added_scaled_and_swapped(tmp_path):
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    W, changes = load().unet.get_submodule(layer).weight.detach(), {}
    for name, r in (("OUT", 8), ("STYLE", 16), ("OTHER", 4)):
        unet = adapted(r).unet
        hra.to_lora(unet, tmp_path / name)
        unet.get_submodule(layer).merge()
        changes[name] = unet.get_submodule(layer).get_base_layer().weight.detach() - W
    exec(filled(SEVERAL, tmp_path), names := {"DiffusionPipeline": DiffusionPipeline})
    x = torch.randn(5, W.shape[1])
    # swapped in for "cup": OTHER; strengths are those of set_adapters
    expected = x @ (W + changes["OTHER"] + 0.8 * changes["STYLE"]).T
    torch.testing.assert_close(names["pipe"].unet.get_submodule(layer)(x), expected, rtol=0, atol=1e-5)


def filled(block: str, folder: Path) -> str:
    """Return a block of the page with this test's model and folders instead of the names in capitals."""
    block = re.sub(r'"MODEL"|\bMODEL\b(?= --)', f'"{PIPELINE}"', block)
    return re.sub(r"\b(OUT|ADAPTER|STYLE|OTHER)\b", rf"{folder}/\1", block)


def images(folder: Path, number: int, caption: str | None = None) -> list[str]:
    """Write images into a folder, and their captions if a script reads captions; return the script's options."""
    folder.mkdir()
    for index in range(number):
        Image.effect_noise((64, 64), 40 + index).convert("RGB").save(folder / f"{index}.png")
    if caption is None:
        return ["--instance_data_dir", str(folder), "--instance_prompt", "a cup"]
    rows = [json.dumps({"file_name": f"{index}.png", "text": caption}) for index in range(number)]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return ["--train_data_dir", str(folder)]


@pytest.fixture(scope="module")
def scripts(sources) -> Path:
    commit = "58eb52c0803ea9af3abec60841c2a093bdf1f951"
    return sources("DIFFUSERS", "huggingface/diffusers", commit, "examples") / "examples"


def bash(command: str, folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, check=True)


def edit(script: Path, folder: Path, *blocks: str) -> str:
    """Copy a script into a folder and edit it as the page says; return its text."""
    shutil.copy(script, folder)
    (folder / "diffusers.sed").write_text(recipe("diffusers.sed"))
    for block in blocks or (EDIT,):
        bash(block.partition("\npython ")[0].replace(SCRIPT, script.name), folder)
    return (folder / script.name).read_text()


@pytest.mark.full
def test_the_edit_fits_every_script_for_lora(scripts, tmp_path):
    found = [script for name in ("dreambooth", "text_to_image") for script in scripts.glob(f"{name}/train*lora*.py")]
    assert len(found) == 18
    for script in found:
        text = edit(script, tmp_path, EDIT, PENALTY)
        compile(text, script.name, "exec")
        assert text.count("hra.to_lora(") >= 1 == text.count("hra.orthogonality_penalty(") and "LoraConfig(" not in text
        others = [re.escape("unwrap_model(transformer_model) if is_fsdp else"), r"transformer,\s+state_dict="]  # FSDP
        others += [re.escape("accelerator.unwrap_model(transformer)")] * ("krea2" in script.name)  # a validation model
        left = text.count("get_peft_model_state_dict(")
        assert left == len(re.findall(rf"get_peft_model_state_dict\(\s*(?:model\)|{'|'.join(others)})", text))


@pytest.mark.full
@pytest.mark.timeout(400)
def test_the_script_for_dreambooth_trains_resumes_and_exports(scripts, tmp_path):
    images(tmp_path / "IMAGES", 1)
    edit(scripts / "dreambooth" / SCRIPT, tmp_path)
    command = "python " + EDIT.partition("\npython ")[2].strip()
    command = filled(command, tmp_path).replace("python", sys.executable, 1).replace("1e-3", "1e-2")
    command = command.replace(" 500", " 4").replace(" 250", " 2") + " --resolution 64 --train_batch_size 1 --seed 0"
    validation = " --validation_prompt cup --num_validation_images 1 --validation_epochs 4"
    bash(command + validation, tmp_path)
    weights, other = tmp_path / "OUT/pytorch_lora_weights.safetensors", tmp_path / "uninterrupted.safetensors"
    pipe = load()
    pipe.load_lora_weights(tmp_path / "OUT")
    checkpoint = filled(CHECKPOINT, tmp_path).replace("checkpoint-500", "checkpoint-4")
    exec(checkpoint, names := {})
    same(image(pipe), image(names["pipe"]))
    weights.rename(other)
    shutil.rmtree(tmp_path / "OUT/checkpoint-4")
    bash(command + " --resume_from_checkpoint latest", tmp_path)
    assert weights.read_bytes() == other.read_bytes()
    edit(scripts / "dreambooth" / SCRIPT, tmp_path, EDIT, PENALTY)
    shutil.rmtree(tmp_path / "OUT")
    bash(command, tmp_path)
    assert weights.read_bytes() != other.read_bytes()


@pytest.mark.full
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_scripts_export_what_their_checkpoints_hold(scripts, tmp_path, name):
    model, sizes, component, options = OTHERS[name]
    data = images(tmp_path / "IMAGES", 2, None if model else "a red cup")
    base = tmp_path / "model" if model else PIPELINE
    if model:
        write(base, model, SIZES[model] | sizes)
    edit(next(scripts.glob(f"*/{name}")), tmp_path)
    command = [sys.executable, name, "--pretrained_model_name_or_path", base, *data, *options, "--output_dir", "OUT"]
    command += ["--resolution", "64", "--train_batch_size", "1", "--max_train_steps", "2", "--checkpointing_steps", "2"]
    command += ["--learning_rate", "1e-2", "--rank", "4", "--seed", "0"]
    bash(" ".join(f"'{word}'" for word in command), tmp_path)
    lora = load_file(tmp_path / "OUT/pytorch_lora_weights.safetensors")
    vectors = load_file(tmp_path / "OUT/checkpoint-2/pytorch_lora_weights.safetensors")
    assert {key.split(".")[0] for key in lora} == {key.split(".")[0] for key in vectors}
    pipe = DiffusionPipeline.from_pretrained(base)
    module, prefix = getattr(pipe, component), f"{component}."
    vectors = {key.removeprefix(prefix): u for key, u in vectors.items() if key.startswith(prefix)}
    layers = [key.removesuffix(".hra_u") for key in vectors]
    assert {u.dtype for u in vectors.values()} == {torch.float32}
    if "bf16" in options:
        module.to(torch.bfloat16).to(torch.float32)  # the weights that the script trains with
    module.add_adapter(peft.HRAConfig(r=4, target_modules=layers))
    peft.set_peft_model_state_dict(module, vectors)
    expected = {prefix + key: tensor for key, tensor in hra.to_lora(module)[1].items()}
    assert {key for key in lora if key.startswith(prefix)} == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(lora[key], tensor, rtol=0, atol=1e-6)
    other = DiffusionPipeline.from_pretrained(base)
    other.load_lora_weights(tmp_path / "OUT")
    assert set(other.get_list_adapters()) == {key.split(".")[0] for key in lora}
