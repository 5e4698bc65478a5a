"""Adapters of both sides and of magnitudes: exported as LoRA and DoRA, saved, loaded and refused."""

import copy
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from sidebyside import Net, llama
from torch import nn

import hra
from hra.__main__ import main

ROOT = Path(__file__).parents[2]
UNET = ROOT / "workflow/pictures-sd/unet"
FORMS = [{"two_sided": True}, {"magnitudes": True}, {"two_sided": True, "magnitudes": True}]
EACH = pytest.mark.parametrize("form", FORMS, ids="-".join)


def adapt(model: nn.Module, **options) -> nn.Module:
    """Add a random adapter, whose 1 + δ is between -0.8 and 1.5."""
    model = get_peft_model(model, hra.HRAConfig(**{"r": 4, "init_weights": False} | options))
    for name, parameter in model.named_parameters():
        if "hra_magnitudes" in name:
            parameter.data.uniform_(-1.8, 0.5)
    return model.eval()


@settings(deadline=None, max_examples=30)
@given(
    form=st.sampled_from(FORMS),
    conv=st.booleans(),
    bias=st.booleans(),
    n=st.integers(1, 5),
    out=st.integers(4, 300),
    r=st.integers(1, 4),
    apply_GS=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_layer_of_stock_PEFT_is_equal(form, conv, bias, n, out, r, apply_GS, seed):
    torch.manual_seed(seed)
    base = nn.Conv2d(n, out, (2, 3), stride=2, padding=1, bias=bias) if conv else nn.Linear(4 * n, out, bias=bias)
    x = torch.randn(2, n, 5, 6) if conv else torch.randn(3, 4 * n)
    base, x = nn.Sequential(base).double(), x.double()
    model = adapt(copy.deepcopy(base), r=r, target_modules="0", apply_GS=apply_GS, **form)
    config, state = hra.to_lora(model)
    assert config.r == config.lora_alpha == r * (1 + form.get("two_sided", False))
    assert config.use_dora == form.get("magnitudes", False)
    stock = get_peft_model(base, config)
    assert not set_peft_model_state_dict(stock, state).unexpected_keys
    expected = model(x)
    torch.testing.assert_close(stock(x), expected, rtol=0, atol=1e-12 * n * out)
    torch.testing.assert_close(stock.merge_and_unload()(x), expected, rtol=0, atol=1e-12 * n * out)


REFUSAL = (
    "KeyError: 'HRA_EXTENDED: PEFT loads this adapter only with the Python package hra (newer than 0.2.0). Install it, "
    "then run `import hra; hra.install()` first. Or export a LoRA or DoRA for PEFT without it: "
    "`hra to-lora ADAPTER OUT`'"
)
# Runs without `hra`: loads each folder's base model with the exported file, and tries to load the adapter itself.
STOCK = """
import json, sys, torch
from importlib import import_module
from pathlib import Path
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel

def base():
    return getattr(import_module(library), name).from_pretrained(place).double().eval()

def refusal(load, *inputs):
    try:
        return f"loaded {load(*inputs)}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

found = {}
for folder in map(Path, sys.argv[1:]):
    library, name, place = json.loads((folder / "base.json").read_text())
    inputs, expected = torch.load(folder / "outputs.pt")
    with torch.no_grad():
        output = PeftModel.from_pretrained(base(), folder / "lora")(**inputs)[0]
        errors = [(output - expected).abs().max().item()]
        if library == "transformers":
            (model := base()).load_adapter(folder / "lora")
            errors.append((model(**inputs)[0] - expected).abs().max().item())
    refused = [refusal(PeftModel.from_pretrained, base(), folder / "adapter")]
    refused.append(refusal(PeftConfig.from_pretrained, folder / "adapter"))
    if library == "transformers":
        refused.append(refusal(base().load_adapter, folder / "adapter"))
    if "Causal" in name:
        refused.append(refusal(AutoPeftModelForCausalLM.from_pretrained, folder / "adapter"))
    found[str(folder)] = errors, refused
assert "hra" not in sys.modules
print(json.dumps(found))
"""

MODELS = {
    "llama": ("transformers", "LlamaForCausalLM", ["q_proj", "down_proj"], {"input_ids": torch.arange(12).view(2, 6)}),
    "deberta": (
        "transformers",
        "DebertaV2ForSequenceClassification",
        ["query_proj", "dense"],
        {"input_ids": torch.arange(1, 13).view(2, 6)},
    ),
    "unet": (
        "diffusers",
        "UNet2DConditionModel",
        ["to_q", "conv1"],
        {
            "sample": torch.ones(1, 4, 8, 8).cumsum(-1) / 8,
            "timestep": torch.tensor([1]),
            "encoder_hidden_states": torch.ones(1, 3, 96).cumsum(1),
        },
    ),
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Export the three forms of an adapter on each model, and return what stock PEFT makes of their files."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    hra.install()
    root = tmp_path_factory.mktemp("stock")
    torch.manual_seed(0)
    llama().save_pretrained(root / "llama")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 4, "share_att_key": True}
    config = DebertaV2Config(vocab_size=50, type_vocab_size=0, position_biased_input=False, **sizes)
    DebertaV2ForSequenceClassification(config).save_pretrained(root / "deberta")
    folders = []
    for name, (library, cls, targets, inputs) in MODELS.items():
        place = UNET if name == "unet" else root / name
        inputs = {key: one.double() if one.is_floating_point() else one for key, one in inputs.items()}
        for form in FORMS:
            folders.append(folder := root / "-".join([name, *form]))
            base = getattr(import_module(library), cls).from_pretrained(place).double()
            model = adapt(base, target_modules=targets, **form)
            model.save_pretrained(folder / "adapter")
            hra.to_lora(model, folder / "lora")
            with torch.no_grad():
                torch.save((inputs, expected := model(**inputs)[0]), folder / "outputs.pt")
                with model.disable_adapter():
                    assert (model(**inputs)[0] - expected).abs().max() > 1e-4
            (folder / "base.json").write_text(json.dumps([library, cls, str(place)]))
    done = subprocess.run(
        [sys.executable, "-c", STOCK, *map(str, folders)], cwd=root, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {Path(folder).name: one for folder, one in json.loads(done.stdout.splitlines()[-1]).items()}


@EACH
@pytest.mark.parametrize("model", MODELS)
def test_stock_PEFT_and_transformers_read_the_exported_file(stock, model, form):
    errors, _ = stock["-".join([model, *form])]
    assert len(errors) == (1 if model == "unet" else 2) and max(errors) < 1e-9


@EACH
def test_stock_PEFT_refuses_the_adapter_with_what_to_do(stock, form):
    refused = [one for model in MODELS for one in stock["-".join([model, *form])][1]]
    assert refused == [REFUSAL] * 9


@EACH
def test_a_file_comes_back_byte_for_byte(tmp_path, form):
    llama().save_pretrained(tmp_path / "base")
    base = type(llama())
    model = adapt(base.from_pretrained(tmp_path / "base"), task_type="CAUSAL_LM", init_scale=0.25, **form)
    model.save_pretrained(tmp_path / "first")
    config = json.loads((tmp_path / "first/adapter_config.json").read_text())
    assert config["peft_type"] in REFUSAL and config["init_scale"] == 0.25
    assert {key for key in ("two_sided", "magnitudes") if config.get(key)} == set(form)
    x = torch.arange(12).view(2, 6)
    loaded = PeftModel.from_pretrained(base.from_pretrained(tmp_path / "base"), tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    auto = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "first")
    plain = base.from_pretrained(tmp_path / "base")
    plain.load_adapter(tmp_path / "first")
    with torch.no_grad():  # in the same form as that of the loaded models, which are not trained
        for other in (loaded, auto, plain):
            assert torch.equal(other.eval()(x).logits, model(x).logits)


def test_other_files_keep_their_type(tmp_path):
    adapt(Net(), target_modules=["first"], init_scale=0.5).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "HRA" and config["init_scale"] == 0.5 and "two_sided" not in config


@pytest.mark.parametrize("two_sided", [True, False])
def test_a_zero_row_by_whose_length_DoRA_would_divide_is_refused(two_sided):
    base = nn.Sequential(nn.Linear(6, 300))
    base[0].weight.data[270] = 0
    model = adapt(base, target_modules="0", two_sided=two_sided, magnitudes=True, init_weights=True)
    with pytest.raises(ValueError, match=r"^to_lora: 0: .* not zero, found 1, the first one at index 270\. .* Merge"):
        hra.to_lora(model)
    base[0].weight.data[270] = 1e-9  # a row that PEFT's arithmetic does not lose
    assert hra.to_lora(model)[0].use_dora
    base[0].weight.data[270] = 0
    if two_sided:  # once H_L mixes the rows, none is zero
        model.base_model.model[0].hra_u_out["default"].data[:, 0] += 0.01
        _, state = hra.to_lora(model)
        assert all(one.isfinite().all() for one in state.values())


@pytest.mark.parametrize("name", ["hra_u_out", "hra_magnitudes"])
def test_NaN_on_the_output_side_is_refused(name):
    model = adapt(nn.Sequential(nn.Linear(6, 5)), target_modules="0", two_sided=True, magnitudes=True)
    getattr(model.base_model.model[0], name)["default"].data[2] = torch.nan
    with pytest.raises(ValueError, match="to_lora: 0: expected finite numbers, found NaN or infinity"):
        hra.to_lora(model)


def test_a_magnitude_of_zero_is_exported_and_a_grouped_convolution_refused():
    model = adapt(copy.deepcopy(base := nn.Sequential(nn.Linear(6, 5))), target_modules="0", magnitudes=True)
    model.base_model.model[0].hra_magnitudes["default"].data[1] = -1
    config, state = hra.to_lora(model)
    set_peft_model_state_dict(stock := get_peft_model(base, config), state)
    x = torch.randn(3, 6)
    torch.testing.assert_close(stock(x), model(x))
    assert torch.equal(stock(x)[:, 1], base[0].bias[1].expand(3))
    for form in FORMS:
        grouped = adapt(nn.Sequential(nn.Conv2d(8, 8, 3, groups=2)), target_modules="0", **form)
        with pytest.raises(ValueError, match=r"to_lora: 0 has 2 groups; .* or merge the adapter instead"):
            hra.to_lora(grouped)


@pytest.fixture(params=FORMS, ids="-".join)
def saved(request, tmp_path):
    """Write a base model and an adapter of one form to folders; return the model and the form."""
    llama().save_pretrained(tmp_path / "base")
    model = adapt(type(llama()).from_pretrained(tmp_path / "base"), task_type="CAUSAL_LM", **request.param)
    model.save_pretrained(tmp_path / "adapter")
    return model, request.param


def test_the_commands_use_the_output_side(saved, tmp_path, capsys):
    (model, form), x = saved, torch.arange(12).view(2, 6)
    expected = model(x).logits
    main(["to-lora", str(tmp_path / "adapter"), str(tmp_path / "lora")])
    kind, rank = "DoRA" if "magnitudes" in form else "LoRA", 8 if "two_sided" in form else 4
    assert f"lora: a {kind} adapter of rank {rank} on 2 layers, for PeftModel" in capsys.readouterr().out
    base = type(llama()).from_pretrained(tmp_path / "base")
    torch.testing.assert_close(PeftModel.from_pretrained(base, tmp_path / "lora")(x).logits, expected)
    main(["merge", str(tmp_path / "adapter"), str(tmp_path / "merged")])
    merged = type(llama()).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(merged(x).logits, expected)


def rewrite(folder: Path, change) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


@pytest.mark.parametrize("command", ["to-lora", "merge", "inspect"])
def test_a_lacking_or_unexpected_tensor_is_an_error_by_name(saved, tmp_path, command):
    _, form = saved
    more = [] if command == "inspect" else [str(tmp_path / "out")]
    arguments = [command, str(tmp_path / "adapter"), *more]
    for option, name in {"two_sided": "hra_u_out", "magnitudes": "hra_magnitudes"}.items():
        key, path = f"base_model.model.model.layers.0.self_attn.q_proj.{name}", tmp_path / "adapter"
        whole = load_file(path / "adapter_model.safetensors")
        if option in form:
            change, message = lambda u, key=key: {k: v for k, v in u.items() if k != key}, f"a tensor {key}, found none"
        else:
            change, message = lambda u, key=key: u | {key: torch.ones(16)}, f"no {name} without `{option}` .* {key}"
        rewrite(path, change)
        with pytest.raises(SystemExit, match=rf"^hra {command}: .*/adapter: expected {message}\. Copy or download"):
            main(arguments)
        save_file(whole, path / "adapter_model.safetensors")
    rewrite(path, lambda u: {k: v for k, v in u.items() if not k.endswith("q_proj.hra_u")})
    with pytest.raises(SystemExit, match=rf"^hra {command}: .*: expected a tensor \S+q_proj\.hra_u, found none\."):
        main(arguments)
    assert not (tmp_path / "out").exists()
