"""Architectures, tiny and random: tied embeddings, default targets, ModernBERT, and DeBERTaV3's file formats."""

import json
import random
from pathlib import Path

import peft
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

import chat_models
import evaluate_glue
import hra
import sums
import support
from hra_workflow.core import files, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, causal_lm, classifier
from rule_jobs import train
from support import deberta_config, method
from test_export_adapter import export_unevaluated


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Provide a language model whose output layer is its embedding."""
    folder = tmp_path_factory.mktemp("gemma3_text")
    chat_models.write(folder, "gemma3_text")
    return folder


@pytest.mark.parametrize(("targets", "head"), [(["lm_head"], []), (["q_proj"], ["lm_head"])])
def test_tied_embeddings_get_no_adapter_and_no_copy(base, targets, head):
    chosen = method("lora", targets=targets)
    with pytest.raises(JobError, match=r"lm_head: expected its own weight, .*embed_tokens.*lm_head"):
        adapters.insert(causal_lm.load_model(base, "float32"), chosen, head)


@pytest.mark.parametrize("kind", ["lora", "hra", "ia3"])
def test_targets_are_peft_s_or_all_linear_layers(base, kind):
    own = getattr(peft.utils, f"TRANSFORMERS_MODELS_TO_{kind.upper()}_TARGET_MODULES_MAPPING")
    spec = method("peft", type=kind, peft=support.SMALL.get(kind, {"r": 4}))
    for targets in ("all-linear", "default"):
        model = causal_lm.load_model(base, "float32")
        expected = sums.LLAMA_TARGETS if targets == "all-linear" else own[model.config.model_type]
        adapted = adapters.insert(model, spec | {"targets": targets})
        names = adapted.base_model.targeted_module_names
        assert {name.rpartition(".")[2] for name in names} == set(expected) and len(names) == 2 * len(expected)


def stock_logits(base: Path, folder: Path) -> torch.Tensor:
    """Compute with stock PEFT and transformers."""
    hra.uninstall()
    try:
        torch.manual_seed(7)
        model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base), folder).eval()
        with torch.inference_mode():
            return model(input_ids=torch.arange(5, 37).reshape(2, 16)).logits
    finally:
        hra.install()


SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "local_attention": 8}
TOKENS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
MODERNBERT = support.TINY_MODEL | {"model_type": "modernbert"}
MODERNBERT["config"] = SIZES | TOKENS | {"intermediate_size": 48, "max_position_embeddings": 64}


@pytest.mark.slow
def test_modernbert_predicts_and_is_loaded_by_stock_libraries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    support.write_sentences(tmp_path / "raw")
    given = support.downloaded(tmp_path, MODERNBERT, "glue/tiny", support.DATASET)
    settings = {"epochs": 20 / 6, "learning_rate": 1e-2}
    run = support.Run(tmp_path / "run", given, method("hra", targets="all-linear"), **settings).started()
    train(run)
    record = files.read_json(run.train["output"]["record"])
    # The encoder has no head: transformers' own, a layer and the classifier, is trained.
    assert record["trainable_parameters"] - record["adapter_parameters"] == (32 * 32 + 32) + (32 * 2 + 2)
    evaluate_glue.main(run.evaluate)
    metrics = files.read_json(run.evaluate["output"]["metrics"])["selections"]["last"]["metrics"]
    assert metrics["accuracy"]["value"] == record["curve"][-1]["metrics"]["accuracy"]
    (folder, _), base = export_unevaluated(run, tmp_path / "hub", {}), manifests.folder(given["model"])
    found = [stock_logits(base, place) for place in (run.last.parent, folder, folder / "lora")]
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)
    torch.testing.assert_close(found[0], found[2], atol=1e-4, rtol=1e-4)
    assert found[0].std() > 1e-3


WORDS = [
    "the", "a", "cat", "dog", "man", "woman", "sees", "hears", "likes", "old", "young", "house", "garden", "runs",
    "sleeps", "quickly", "today", "never",
]  # fmt: skip
DEBERTA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
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
    config = deberta_config(**DEBERTA, vocab_size=80, position_buckets=16)
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
