"""The exact LoRA export and the command line."""

import copy
import importlib
import json
import runpy
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from sidebyside import Net, adapt, close, layer
from torch import nn

import hra
from hra.__main__ import figure_name, main, measure
from hra.reflections import compact


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"apply_GS": True},
        {"r": 3},
        {"bias": "hra_only"},
        {"bias": "all"},
        {"target_modules": ["conv", "first"], "modules_to_save": ["second"]},
        {"target_modules": ".*(first|second)"},
    ],
)
@pytest.mark.parametrize("stock", [False, True])
def test_exported_lora_gives_the_same_outputs(net, images, tmp_path, config, stock):
    model = adapt(net, stock, **config)
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.1 * torch.randn_like(p)  # including biases and saved modules
    returned, state = hra.to_lora(model, tmp_path)
    assert returned.r == returned.lora_alpha == config.get("r", 4)
    loaded = PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)
    assert isinstance(loaded.peft_config["default"], LoraConfig)
    close(loaded(images), model(images), 168)
    assert set(load_file(tmp_path / "adapter_model.safetensors")) == set(state)
    close(loaded.merge_and_unload()(images), model(images), 168)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_export_of_other_dtypes(dtype, tmp_path):
    net, x = nn.Sequential(nn.Linear(16, 8)).to(dtype), torch.randn(5, 16).to(dtype)
    model = adapt(net, target_modules=["0"])
    hra.to_lora(model, tmp_path)
    close(PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)(x), model(x), 4)


def test_one_adapter_of_several_is_exported_by_name(net, images, tmp_path):
    model = adapt(net)
    model.add_adapter("other", model.peft_config["default"])
    hra.to_lora(model, tmp_path, adapter_name="other")
    model.set_adapter("other")
    close(PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)(images), model(images), 168)


def test_quantised_base_shows_its_weight_by_what_it_does():
    class Doubled(nn.Module):  # W = 2 I, not stored as a weight
        in_features = out_features = 6

        def __init__(self):
            super().__init__()
            self.register_buffer("qweight", torch.zeros(9, dtype=torch.int32))

        def forward(self, x):
            return 2 * x + 1

    Doubled.__name__ = "DoubledLinear"
    model = adapt(nn.Sequential(Doubled()), target_modules=["0"])
    _, state = hra.to_lora(model)
    V, B = compact(model.base_model.model[0].hra_u["default"])
    close(state["base_model.model.0.lora_A.weight"], V.T, 6)
    close(state["base_model.model.0.lora_B.weight"], -2 * B, 6)


class MisreadLinear(nn.Module):
    """Reads its input's memory as contiguous rows, like a kernel that ignores strides; has no readable weight."""

    in_features = out_features = 6

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.randn(6, 6))

    def forward(self, x):
        return x.as_strided(x.shape, (x.shape[-1], 1)) @ self.qweight.T + 1


def test_quantised_base_that_reads_rows_only_is_given_rows():
    model = adapt(nn.Sequential(MisreadLinear()), target_modules=["0"])
    hra_layer = model.base_model.model[0]
    _, state = hra.to_lora(model)
    _, B = compact(hra_layer.hra_u["default"])
    close(state["base_model.model.0.lora_B.weight"], -hra_layer.base_layer.qweight @ B, 6)


def test_quantised_base_that_is_no_matrix_is_refused():
    class Squared(MisreadLinear):
        def forward(self, x):
            return super().forward(x).square()

    Squared.__name__ = "SquaredLinear"
    model = adapt(nn.Sequential(Squared()), target_modules=["0"])
    with pytest.raises(ValueError, match=r"base_model\.model\.0 \(SquaredLinear\).*the layer is not linear"):
        hra.to_lora(model)


def test_injected_diffusers_model_exports_for_load_lora_adapter(tmp_path):
    from diffusers import UNet2DConditionModel
    from peft import HRAConfig

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([1]), torch.randn(1, 3, 8)
    bare = copy.deepcopy(unet)
    config = HRAConfig(r=4, target_modules=["to_q", "to_k", "conv1"], init_weights=False)
    unet.add_adapter(config, adapter_name="mine")
    hra.to_lora(unet, tmp_path, adapter_name="mine")
    bare.load_lora_adapter(tmp_path, prefix=None, weight_name="pytorch_lora_weights.safetensors")
    close(bare(*inputs).sample, unet(*inputs).sample, 72, c=32)


def test_what_cannot_be_exported_is_an_error(net, tmp_path):
    model = adapt(net)
    with pytest.raises(KeyError, match="expected one of the adapters"):
        hra.to_lora(model, adapter_name="missing")
    model.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        hra.to_lora(model)
    lora = get_peft_model(net, LoraConfig(target_modules=["first"]))
    with pytest.raises(ValueError, match="found LORA"):
        hra.to_lora(lora)
    for base in (nn.Conv2d(3, 4, 3, dilation=2), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")):
        model = adapt(nn.Sequential(base), target_modules=["0"])
        with pytest.raises(ValueError, match="LoRA ignores both"):
            hra.to_lora(model, tmp_path)


# The command line


@pytest.fixture
def saved(tmp_path):
    """Write a tiny base model and an adapter of it to folders."""
    from peft import HRAConfig
    from transformers import LlamaConfig, LlamaForCausalLM

    base = LlamaForCausalLM(
        LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    )
    base.save_pretrained(tmp_path / "base")
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(tmp_path / "base"),
        HRAConfig(r=4, init_weights=False, task_type="CAUSAL_LM"),
    )
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path, model.eval()


def test_inspect_lists_each_layer_and_draws_them(saved, capsys):
    folder, _ = saved
    main(["inspect", str(folder / "adapter"), "--png", str(folder / "look.png")])
    shown = capsys.readouterr().out
    assert "q_proj" in shown and "v_proj" in shown and "128" in shown
    assert (folder / "look.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("adapter", "name"),
    [
        ("results/glue/cola/hra/r8/seed0/last", "glue-cola-hra-r8-seed0-last.png"),
        ("/data/runs/cola/last/", "data-runs-cola-last.png"),
        ("someone/adapter", "someone-adapter.png"),
        ("../best", "best.png"),
    ],
)
def test_figures_of_several_runs_have_several_names(adapter, name):
    assert figure_name(adapter) == name


@pytest.mark.parametrize("apply_GS", [False, True])
def test_measures_are_those_of_the_dense_matrix(tmp_path, apply_GS):
    model = adapt(nn.Sequential(nn.Linear(9, 5)), target_modules=["0"], apply_GS=apply_GS)
    model.save_pretrained(tmp_path)
    (found,) = measure(str(tmp_path))
    V, B = compact(model.base_model.model[0].hra_u["default"].double(), apply_GS)
    H = torch.eye(9) - B @ V.T
    angle = torch.linalg.eigvals(H).angle().abs().max().rad2deg()
    assert found["distance"] == pytest.approx((H - torch.eye(9)).norm().item())
    assert found["angle"] == pytest.approx(angle.item())
    assert (found["layer"], found["n"], found["r"], found["parameters"]) == ("0", 9, 4, 36)


def test_an_adapter_at_its_start_measures_as_the_identity(tmp_path):
    adapt(Net(), init_weights=True).save_pretrained(tmp_path)
    for found in measure(str(tmp_path)):
        assert found["distance"] < 1e-6 and found["angle"] < 1e-4


def test_to_lora_and_merge_write_what_others_load(saved):
    from transformers import AutoModelForCausalLM

    folder, model = saved
    tokens = torch.randint(0, 50, (2, 7))
    main(["to-lora", str(folder / "adapter"), str(folder / "lora"), "--base", str(folder / "base")])
    main(["merge", str(folder / "adapter"), str(folder / "merged")])
    assert json.loads((folder / "lora/adapter_config.json").read_text())["peft_type"] == "LORA"
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    close(PeftModel.from_pretrained(base, folder / "lora")(tokens).logits, model(tokens).logits, 24)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    close(merged(tokens).logits, model(tokens).logits, 24)


def test_command_line_says_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match=r"inspect: Can't find 'adapter_config\.json'"):
        main(["inspect", str(tmp_path)])
    adapt(Net()).save_pretrained(tmp_path)
    with pytest.raises(SystemExit, match="does not name its base model: pass --base"):
        main(["merge", str(tmp_path), str(tmp_path / "out")])
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(SystemExit, match=r"safetensors file of .* is truncated or corrupted \(.*\)\. Copy or download"):
        main(["inspect", str(tmp_path)])
    weights.unlink()
    torch.save({"a": Net()}, tmp_path / "adapter_model.bin")
    with pytest.raises(
        SystemExit, match=r"other objects in a file of .*, which could execute code; they were not loaded"
    ):
        main(["inspect", str(tmp_path)])


def test_layers_that_see_no_adapter_are_not_touched():
    assert layer(nn.Linear(6, 3)).get_factors(["missing"]) is None


# Names in adapter_config.json are not executed


def write_mapping(folder, library: str, name: str):
    config = {"peft_type": "HRA", "base_model_name_or_path": "base"}
    folder.mkdir()
    mapping = {"auto_mapping": {"parent_library": library, "base_model_class": name}}
    (folder / "adapter_config.json").write_text(json.dumps(config | mapping))
    return folder


@pytest.mark.parametrize("command", ["to-lora", "merge"])
@pytest.mark.parametrize(
    ("library", "name"),
    [("evil", "Model"), ("evil.transformers", "Model"), ("transformers", "os"), ("transformers", "Trainer")],
)
def test_an_adapter_cannot_name_other_code(tmp_path, monkeypatch, command, library, name):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    adapter = write_mapping(tmp_path / "adapter", library, name)
    message = rf"to name a model class of transformers or diffusers, found {library}.{name}\. Load"
    with pytest.raises(SystemExit, match=message):
        main([command, str(adapter), "out"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:'hra.__main__' found in sys.modules")
def test_the_working_directory_is_not_searched_for_a_library(tmp_path, monkeypatch):
    """Start like `python -m hra`, with the working directory first in sys.path."""
    write_mapping(tmp_path / "adapter", "diffusers", "UNet2DModel")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hra", "merge", "adapter", "out"])
    searched = []

    def import_module(name):
        searched.append((name, list(sys.path)))
        raise ValueError("enough")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(SystemExit, match="enough"):
        runpy.run_module("hra", run_name="__main__")
    ((name, places),) = searched
    assert name == "diffusers" and str(tmp_path) not in places
