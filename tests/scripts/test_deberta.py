"""DeBERTaV3's own file formats, small: a float16 pytorch_model.bin and an spm.model, as on the hub."""

import json
import random

import pytest
import torch

from hra_workflow.models import adapters, classifier
from support import deberta_config, method

WORDS = [
    "the", "a", "cat", "dog", "man", "woman", "sees", "hears", "likes", "old", "young", "house", "garden", "runs",
    "sleeps", "quickly", "today", "never",
]  # fmt: skip
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SPECIAL = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
PIECES = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """config.json, tokenizer_config.json, spm.model, pytorch_model.bin: the four files of config.yaml."""
    import sentencepiece
    from transformers import AutoModel

    path = tmp_path_factory.mktemp("deberta")
    generator = random.Random(0)
    text = path / "text"
    text.write_text("\n".join(" ".join(generator.choices(WORDS, k=8)) for _ in range(400)))
    names = {"input": str(text), "model_prefix": str(path / "spm")}
    sentencepiece.SentencePieceTrainer.train(**names, **SPECIAL, **PIECES, vocab_size=40, minloglevel=2)
    (path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    config = deberta_config(**SIZES, vocab_size=80, position_buckets=16)
    config.save_pretrained(path)
    torch.manual_seed(0)
    state = {f"deberta.{name}": value.half() for name, value in AutoModel.from_config(config).state_dict().items()}
    torch.save(state, path / "pytorch_model.bin")
    return path


def test_the_tokenizer_reads_the_sentencepiece_model(folder):
    tokenizer = classifier.load_tokenizer(folder)
    encoded = tokenizer("the cat sees", "a dog runs")["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(encoded)
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[SEP]") == 2
    assert "[UNK]" not in tokens


def test_half_precision_weights_are_loaded_and_held_in_float32(folder):
    model, _ = classifier.load_model(folder, ["no", "yes"], seed=0, dropout=0.25)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = torch.load(folder / "pytorch_model.bin", weights_only=True)["deberta.embeddings.word_embeddings.weight"]
    assert (model.deberta.embeddings.word_embeddings.weight == stored.float()).all()
    assert model.dropout.p == 0.25


def test_the_papers_targets_are_six_linear_layers_a_block(folder):
    targets = ["query_proj", "key_proj", "value_proj", "intermediate.dense", "output.dense"]
    model, head = classifier.load_model(folder, ["no", "yes"], seed=0)
    assert head == ["pooler", "classifier"]
    adapted = adapters.insert(model, method("hra", peft={"r": 8}, targets=targets), head)
    assert len(adapted.base_model.targeted_module_names) == 2 * 6
    # Wq, Wk, Wv, attention output: width 32; intermediate: 32; output: 64
    assert adapters.count(adapted, head)["adapter_parameters"] == 2 * (5 * 32 + 64) * 8
    trainable = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert any("pooler" in name for name in trainable) and any("classifier" in name for name in trainable)
