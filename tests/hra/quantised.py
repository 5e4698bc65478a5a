"""HRA on base models quantised by bitsandbytes and torchao, on a CPU; test_quantised.py runs it where they exist.

The reference is HRA on the same model in float32 with the dequantised weights.
"""

import copy

import bitsandbytes
import pytest
import torch
from datasets import Dataset
from peft import HRAConfig, LoraConfig, PeftModel, get_peft_model
from sidebyside import close, vectors
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

import hra
import word_model
from hra.__main__ import main
from own_code import blocks

CONFIGS = {
    "nf4": BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=True,
    ),
    "int8": BitsAndBytesConfig(load_in_8bit=True),
    "torchao": None,
}
SIZES = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "initializer_range": 0.1,
}
TOKENS = torch.arange(14).view(2, 7)
ROUNDED = 4000  # in evaluation mode bitsandbytes also rounds the input of an int8 weight to 8 bits
LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module", params=list(CONFIGS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=2)).save_pretrained(folder)
    return folder


def load(folder, kind: str) -> LlamaForCausalLM:
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=CONFIGS[kind])
    if kind == "torchao":
        quantize_(model.model, Int8WeightOnlyConfig())
    for layer in linears(model).values():
        layer.support_avx512bf16_for_cpu = kind == "nf4"  # on any machine, also without AVX512-BF16
    return model


def linears(model) -> dict:
    return {name: one for name, one in model.named_modules() if isinstance(one, torch.nn.Linear) and "proj" in name}


def dequantised(layer) -> torch.Tensor:
    weight = layer.weight
    if isinstance(layer, bitsandbytes.nn.Linear4bit):
        return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
    if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
        return weight.data.float() * weight.SCB[:, None] / 127
    return weight.dequantize()


@pytest.fixture
def models(folder, kind):
    """Build the quantised model and a plain one with the same weights and the same trained adapters."""
    base = load(folder, kind)
    plain = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, layer in linears(plain).items():
        layer.weight.data = dequantised(base.get_submodule(name)).detach().clone()
    return [adapt(base), adapt(plain)]


def adapt(model):
    torch.manual_seed(1)
    options = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj", "down_proj"]}
    return get_peft_model(model, HRAConfig(r=4, init_weights=False, **options))


def gradients(model) -> list[torch.Tensor]:
    model.zero_grad()
    model(TOKENS, labels=TOKENS).loss.backward()
    return [u.grad for name, u in model.named_parameters() if "hra_" in name]


def evaluate(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS).logits


def test_forward_and_gradient_are_those_of_the_dequantised_weights(models, kind):
    ours, plain = models
    for mode in (True, False, True):  # the last one after an evaluation
        logits = [model.train(mode)(TOKENS).logits for model in models]
        c = 8 if mode or kind != "int8" else ROUNDED
        close(*logits, 128, c)
        for found, expected in zip(gradients(ours), gradients(plain), strict=True):
            close(found / expected.abs().max(), expected / expected.abs().max(), 128, c)
        if not mode:
            close(evaluate(ours), logits[1], 128, c)


@pytest.mark.parametrize("mode", ["training", "evaluation", "after an evaluation"])
def test_export_is_that_of_the_dequantised_weights(models, folder, kind, tmp_path, mode):
    ours, plain = models
    if mode != "training":
        evaluate(ours)
    ours.train(mode != "evaluation")
    before = ours(TOKENS).logits
    config, found = hra.to_lora(ours, tmp_path)
    for name, factor in hra.to_lora(plain)[1].items():
        close(found[name], factor, 128)
    assert torch.equal(ours(TOKENS).logits, before)  # the base model is unchanged
    exported = PeftModel.from_pretrained(load(folder, kind), tmp_path)
    assert isinstance(exported.peft_config["default"], LoraConfig) and config.r == 4
    close(exported.train()(TOKENS).logits, before, 128, ROUNDED if kind == "int8" and mode == "evaluation" else 8)


def test_checkpoint_comes_back(models, folder, kind, tmp_path):
    ours, _ = models
    expected = evaluate(ours)
    ours.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(folder, kind), tmp_path, is_trainable=True)
    assert all(torch.equal(a, b) for a, b in zip(parameters(ours), parameters(again), strict=True))
    assert torch.equal(evaluate(again), expected)


def parameters(model) -> list[torch.Tensor]:
    return [u for name, u in model.named_parameters() if "hra_" in name]


def test_merging_is_refused_by_the_layer_s_name(models):
    ours, _ = models
    before = ours(TOKENS).logits
    for merge in (ours.merge_adapter, ours.merge_and_unload):
        with pytest.raises(
            TypeError, match=rf"merge into {LAYER}: expected a plain.*unmerged, export.*without quantisation"
        ):
            merge()
    assert torch.equal(ours(TOKENS).logits, before)


def repack(layer) -> None:
    """Repack a layer as bitsandbytes does at its first call in evaluation mode on a CPU with AVX512-BF16."""
    layer.weight.data, _ = bitsandbytes.functional._convert_weight_packed_for_cpu(
        layer.weight.data, layer.weight.quant_state
    )


def test_repacked_weights_are_neither_trained_on_nor_exported(folder, tmp_path):
    base = load(folder, "nf4")
    adapt(copy.deepcopy(base)).save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    assert linears(loaded)[
        f"base_model.model.{LAYER}.base_layer"
    ].support_avx512bf16_for_cpu  # fast inference stays enabled
    repack(loaded.get_submodule(f"base_model.model.{LAYER}.base_layer"))
    with pytest.raises(ValueError, match=rf"quantised weight of {LAYER}.*found it repacked.*export before"):
        hra.to_lora(loaded)
    repack(base.get_submodule("model.layers.1.mlp.up_proj"))  # not a target, but it would block gradients too
    with pytest.raises(
        ValueError, match=r"train on model\.layers\.1\.mlp\.up_proj: .*blocks gradients.*before the model runs"
    ):
        adapt(base)
    assert not any(isinstance(one, hra.tuner.HRALayer) for one in base.modules())


def test_command_line_exports_from_a_base_saved_in_4_bits_and_refuses_to_merge(folder, tmp_path):
    base = load(folder, "nf4")
    base.save_pretrained(tmp_path / "base")
    model = adapt(base)
    model.save_pretrained(tmp_path / "adapter")
    arguments = [str(tmp_path / "adapter"), str(tmp_path / "out"), "--base", str(tmp_path / "base")]
    with pytest.raises(SystemExit, match=rf"merge: HRA cannot merge into {LAYER}"):
        main(["merge", *arguments])
    main(["to-lora", *arguments])
    exported = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "out")
    close(exported.train()(TOKENS).logits, model(TOKENS).logits, 128)


def test_trl_rounds_the_vectors_and_the_page_makes_them_float32_again(folder, tmp_path):
    """Otherwise most of them do not change at a learning rate of 1e-4."""
    options = {"max_steps": 5, "learning_rate": 1e-4, "use_cpu": True, "report_to": [], "disable_tqdm": True}
    *_, float32_again = blocks("TRL")

    def unchanged(code: str) -> float:
        trainer = SFTTrainer(
            load(folder, "nf4"),
            SFTConfig(str(tmp_path), **options),
            train_dataset=Dataset.from_list([{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8),
            processing_class=word_model.tokenizer(),
            peft_config=HRAConfig(r=8, target_modules="all-linear"),
        )
        exec(code, {"trainer": trainer})
        before = vectors(trainer.model)
        trainer.train()
        return (vectors(trainer.model) == before).float().mean().item()

    assert unchanged("") > 0.9
    assert unchanged(float32_again) < 0.01
