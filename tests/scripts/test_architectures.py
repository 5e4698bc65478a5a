"""Architectures, tiny and random: tied embeddings, default targets, ModernBERT, and DeBERTaV3's file formats."""

import json
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


@pytest.mark.parametrize("kind", ["lora", "ia3"])
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


def test_the_four_files_of_debertav3_are_read(tmp_path):
    """A tokenizer of sentencepiece, and weights in half precision that are held in float32."""
    import sentencepiece
    from transformers import AutoModel

    sentences = ["the cat sees a dog", "a dog runs", "the old man likes the garden", "a young woman sleeps today"]
    (tmp_path / "text").write_text("\n".join(sentences * 100))
    names = {"input": str(tmp_path / "text"), "model_prefix": str(tmp_path / "spm")}
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    special = {f"{name}_piece": piece for name, piece in pieces.items()}
    special |= {f"{name}_id": number for number, name in enumerate(pieces)}
    sentencepiece.SentencePieceTrainer.train(**names, **special, vocab_size=30, minloglevel=2)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = deberta_config(**sizes, vocab_size=80, position_buckets=16)
    config.save_pretrained(tmp_path)
    state = {f"deberta.{name}": value.half() for name, value in AutoModel.from_config(config).state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")

    tokenizer = classifier.load_tokenizer(tmp_path)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the cat sees", "a dog runs")["input_ids"])
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[SEP]") == 2 and "[UNK]" not in tokens
    model, head = classifier.load_model(tmp_path, ["no", "yes"], seed=0, dropout=0.25)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = state["deberta.embeddings.word_embeddings.weight"].float()
    assert (model.deberta.embeddings.word_embeddings.weight == stored).all()
    assert head == ["pooler", "classifier"] and model.dropout.p == 0.25
