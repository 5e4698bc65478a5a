"""Parameter counts of the paper's models, and what is trainable."""

import json

import pytest
import torch

from hra_workflow.models import adapters
from support import deberta_config, method

ALL_LINEAR = ["query_proj", "key_proj", "value_proj", "intermediate.dense", "output.dense"]


@pytest.fixture(scope="module")
def deberta():
    """DeBERTaV3-base's shapes, no memory behind them."""
    from transformers import AutoModelForSequenceClassification

    config = deberta_config(
        vocab_size=128100,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        position_buckets=256,
    )

    def build():
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(config)

    return build


@pytest.mark.parametrize(
    ("kind", "peft", "parameters"),
    [
        ("hra", {"r": 8}, 663_552),  # 0.66 M, Table 2
        ("lora", {"r": 8, "lora_alpha": 16}, 1_327_104),  # 1.33 M
        ("oft", {"oft_block_size": 16}, 12 * (4 * 48 + 48 + 192) * 120 + 0),
        ("full", None, None),
    ],
)
def test_parameters_of_deberta(deberta, kind, peft, parameters):
    model = deberta()
    spec = method(kind, peft=peft, targets=ALL_LINEAR if peft else None)
    head = ["pooler", "classifier"]
    adapted = adapters.insert(model, spec, head)
    if adapted is None:
        adapters.select_trainable(model, spec, head)
    found = adapters.count(adapted if adapted is not None else model, head)
    if parameters:
        assert found["adapter_parameters"] == parameters
    else:
        assert found["trainable_parameters"] == found["total_parameters"] == pytest.approx(184e6, rel=0.01)


def test_bitfit_trains_biases_and_head(deberta):
    model = deberta()
    adapters.select_trainable(model, method("bitfit"), ["pooler", "classifier"])
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(name.endswith(".bias") or "pooler" in name or "classifier" in name for name in names)
    assert adapters.count(model, ["pooler", "classifier"])["adapter_parameters"] == pytest.approx(0.1e6, rel=0.05)


def test_equal_runs_give_equal_files(tmp_path):
    path = tmp_path / "adapter_config.json"
    texts = []
    for order in (["b", "a"], ["a", "b"]):
        path.write_text(json.dumps({"target_modules": order, "r": 8}))
        adapters.sort_config(path)
        texts.append(path.read_text())
    assert texts[0] == texts[1]


def test_adalora_schedule_follows_the_number_of_steps():
    config = adapters.peft_config(method("adalora"), total_steps=200)
    assert (config.tinit, config.tfinal, config.total_step) == (20, 60, 200)
    stated = method("adalora")
    stated["peft"] |= {"tinit": 5, "tfinal": 7}  # as a preset may, in steps
    config = adapters.peft_config(stated, total_steps=200)
    assert (config.tinit, config.tfinal, config.total_step) == (5, 7, 200)


def test_oft_takes_a_block_size_without_r():
    config = adapters.peft_config(method("oft", peft={"oft_block_size": 16}))
    assert (config.r, config.oft_block_size) == (0, 16)
