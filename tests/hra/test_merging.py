"""Merging, unmerging, and what would make a merge wrong."""

import copy

import pytest
import torch
from peft import HRAConfig, LoraConfig, get_peft_model, inject_adapter_in_model
from sidebyside import adapt, adapted_weight, close, layer
from torch import nn

import hra


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", [nn.Linear(16, 8), nn.Conv2d(3, 4, (2, 3)), nn.Conv2d(4, 8, 2, groups=2)])
def test_reduced_precision_unmerges_to_the_original_bits(base, dtype):
    ours = layer(copy.deepcopy(base).to(dtype))
    ours.update_layer("other", 2, HRAConfig(r=2, init_weights=False))
    before, exact = ours.weight.clone(), adapted_weight(copy.deepcopy(ours).double(), "default")
    for safe_merge in (False, True):
        ours.merge(safe_merge, adapter_names=["default"])
        close(ours.weight, exact, 1, c=0.51, dtype=dtype)  # computed in float32
        after = ours.weight.clone()
        with pytest.warns(UserWarning, match="additionally merging"):
            ours.merge(safe_merge, adapter_names=["other"])
        assert not torch.equal(ours.weight, after)
        ours.unmerge()
        assert torch.equal(ours.weight, before)
    assert ours._weight_before_merge is None  # the copy is not kept longer than needed


def test_a_weight_that_ZeRO_3_has_emptied_is_refused():
    model = adapt(nn.Sequential(nn.Linear(6, 5)), target_modules=["0"])
    weight = model.base_model.model[0].base_layer.weight
    weight.ds_shape, weight.data = weight.shape, torch.empty(0)
    with pytest.raises(TypeError, match=r"cannot merge into 0: .*ZeRO-3"):
        model.merge_adapter()
    with pytest.raises(ValueError, match=r"to_lora: 0: .*ZeRO-3"):
        hra.to_lora(model)


# Merges and adapters that would be lost or wrong


class Tied(nn.Module):
    """An embedding whose weight is also the output layer's, and a layer that is used in two places."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 16), nn.Linear(16, 9, bias=False)
        self.head.weight = self.embed.weight
        self.first = self.second = nn.Linear(16, 16)

    def forward(self, x):
        return self.head(self.second(self.first(self.embed(x))))


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
@pytest.mark.parametrize(
    ("target", "other"), [("head", r"embed\.weight"), ("first", "second")], ids=["a weight", "a layer"]
)
def test_merging_into_what_other_parts_of_the_model_use_is_refused(target, other, merge):
    model = get_peft_model(Tied(), HRAConfig(r=4, init_weights=False, target_modules=[target]))
    x = torch.arange(9)
    before = model(x)
    with pytest.raises(ValueError, match=rf"merge into {target}: .*its weight is also .*{other}.*tie_word_embeddings"):
        getattr(model, merge)()
    assert torch.equal(model(x), before)
    _, state = hra.to_lora(model)
    assert len(state) == 2


def test_merging_a_layer_of_a_block_that_is_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Sequential(nn.Linear(16, 16), nn.Tanh())

        def forward(self, x):
            return self.second(self.first(x))

    model, x = get_peft_model(Twice(), HRAConfig(r=4, init_weights=False, target_modules=["0"])), torch.randn(5, 16)
    y = model(x)
    close(model.merge_and_unload()(x), y, 64)


@pytest.mark.parametrize("base", [nn.Linear(16, 16), nn.Conv2d(3, 4, 3)])
def test_merging_and_export_above_another_adapter_is_refused(base):
    model = nn.ModuleDict({"layer": copy.deepcopy(base)})
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False), model, "below")
    model = get_peft_model(model, HRAConfig(r=4, init_weights=False, target_modules=["layer"]))
    message = r"layer: expected a layer of the base model, found one with another adapter \(peft.tuners.lora.layer\)"
    for merge in (model.merge_adapter, model.merge_and_unload, lambda: hra.to_lora(model)):
        with pytest.raises(TypeError, match=message):
            merge()


class ReadsWeight(nn.Module):
    """Reads the weight of `q`, and only the dtype of `v`'s, as several models of transformers do."""

    def __init__(self):
        super().__init__()
        self.q, self.v = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        assert self.q.weight.shape == (16, 16) and self.q.weight.stride() == (16, 1)
        return nn.functional.linear(x, self.q.weight, self.q.bias) + self.v(x.to(self.v.weight.dtype))


def test_a_weight_that_a_forward_pass_uses_without_calling_the_layer_is_an_error():
    model = get_peft_model(ReadsWeight(), HRAConfig(r=4, init_weights=False, target_modules=["q", "v"]))
    x, q = torch.randn(5, 16), model.base_model.model.q
    for trains in (True, False):
        with (
            torch.set_grad_enabled(trains),
            pytest.raises(ValueError, match=r"cannot adapt q: .*without calling it.*no effect.*exclude_modules"),
        ):
            model(x)
    assert torch.equal(q.weight.clone(), q.base_layer.weight)  # not in a forward pass
    with model.disable_adapter():
        before = model(x)
    model.merge_adapter()
    assert not torch.allclose(model(x), before)
    get_peft_model(ReadsWeight(), HRAConfig(r=4, target_modules=["v"]))(x)


@pytest.mark.parametrize("stored", ["W_q", "qweight"])  # HQQ; GPTQ and AWQ
def test_a_quantised_layer_without_a_weight_is_unloaded(stored):
    class QuantLinear(nn.Module):
        in_features = out_features = 16

        def __init__(self):
            super().__init__()
            self.register_buffer(stored, torch.zeros(4, 16, dtype=torch.int32))

    base = QuantLinear()
    model = get_peft_model(nn.ModuleDict({"layer": base}), HRAConfig(r=4, target_modules=["layer"]))
    assert model.unload()["layer"] is base


def test_a_classifier_without_a_weight_of_its_own_is_kept_by_merging():
    from transformers import RobertaConfig, RobertaForSequenceClassification

    sizes = {"vocab_size": 9, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    base = RobertaForSequenceClassification(RobertaConfig(**sizes, num_attention_heads=2, num_labels=3)).eval()
    config = HRAConfig(r=4, init_weights=False, target_modules=["query"], task_type="SEQ_CLS")
    model, tokens = get_peft_model(base, config).eval(), torch.arange(2, 7)[None]
    head = model.base_model.model.classifier.modules_to_save["default"]
    y = model(tokens).logits
    merged = model.merge_and_unload()
    close(merged(tokens).logits, y, 64)
    assert merged.classifier is head


def test_output_projection_of_multihead_attention_is_refused():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(16, 2)})
    with pytest.raises(ValueError, match=r"attention\.out_proj.*no effect.*exclude_modules"):
        get_peft_model(model, HRAConfig(r=4, target_modules=["out_proj"]))


def test_fast_path_of_a_transformer_layer_does_not_go_round_the_adapter():
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(2, 3, 16)
    model = nn.ModuleDict({"layer": model})
    config = HRAConfig(r=4, target_modules=["linear1"], init_weights=False)
    ours = get_peft_model(model, config).base_model.model["layer"].eval()
    with torch.no_grad():
        fast = ours(x)
    close(fast, ours(x), 16)
    with torch.no_grad():
        ours.linear1.enable_adapters(False)
        assert not torch.allclose(ours(x), fast)


@pytest.mark.parametrize("base", [nn.Embedding(5, 8), nn.Conv1d(4, 8, 3), nn.Bilinear(4, 8, 3)])
def test_other_modules_are_refused(base):
    with pytest.raises(TypeError, match="not supported"):
        layer(base)
