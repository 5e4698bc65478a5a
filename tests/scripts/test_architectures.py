"""Today's architectures, tiny and random: they train, answer, and are exported for stock libraries."""

from pathlib import Path

import peft
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import chat_models
import hra
import sums
import support
from hra_workflow.core import files, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, causal_lm, decoding, memory
from predicted import answering, predict
from rule_jobs import train
from test_export_adapter import export_unevaluated, pasted

LONG = {"epochs": 2.5, "max_length": 96, "learning_rate": 2e-2}
CHAT_MODELS = ["gemma3_text"]


class ChatRun(sums.MathRun):
    GIVEN = sums.MathRun.GIVEN | {"prompt": chat_models.CHAT}


@pytest.fixture(scope="module", params=CHAT_MODELS)
def given(request, tmp_path_factory) -> dict[str, str]:
    """Provide the manifests of a language model and of sums."""
    root = tmp_path_factory.mktemp(request.param)
    sums.write_sums(root / "raw")
    return support.downloaded(root, chat_models.source(request.param), "math/sums", sums.SUMS)


@pytest.fixture
def base(given) -> Path:
    return manifests.folder(given["model"])


def check_answers(run, base: Path, monkeypatch) -> None:
    """Check that an answer ends at any end token, in a batch that answers leave and by transformers' own generate."""
    free, tokenizer = sums.answers(run, max_new_tokens=16), causal_lm.load_tokenizer(base)
    said = [line["output"] for line in free]
    letter = max(sorted(set("".join(said))), key=lambda letter: sum(text.find(letter) > 0 for text in said))
    ends = [token for token in range(len(tokenizer)) if letter in tokenizer.decode([token])]
    with monkeypatch.context() as patch:
        patch.setattr(causal_lm, "end_tokens", lambda *_: [tokenizer.eos_token_id, *ends])
        given = sums.answers(run, max_new_tokens=16)
        assert [line["output"] for line in given] == [text.split(letter)[0] for text in said]
        assert {line["finish"] for line in given if letter in said[line["item"]]} == {"stop"}
        patch.setattr(decoding, "is_supported", lambda model: False)
        assert sums.answers(run, max_new_tokens=16) == given


def stock_logits(load, base: Path, folder: Path, ids) -> torch.Tensor:
    """Compute with stock PEFT and transformers."""
    hra.uninstall()
    try:
        torch.manual_seed(7)
        model = PeftModel.from_pretrained(load(base), folder).eval()
        assert not any(type(one).__module__.startswith("hra.") for one in model.modules())
        with torch.inference_mode():
            return model(input_ids=ids).logits
    finally:
        hra.install()


@pytest.mark.slow
def test_a_language_model_answers_and_is_loaded_by_stock_libraries(given, base, tmp_path, monkeypatch, capsys):
    run = ChatRun(tmp_path / "run", given, sums.math_method("hra"), **LONG).started()
    train(run)
    check_answers(run, base, monkeypatch)
    monkeypatch.chdir(tmp_path)
    folder, _ = export_unevaluated(run, tmp_path / "hub", {"evaluation_suffix": "", "max_new_tokens": 16})
    ids = torch.arange(30, 60)[None]
    model = causal_lm.load_run(base, run.method, run.last, "float32", "cpu")
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        with model.disable_adapter():
            assert (model(input_ids=ids).logits - expected).abs().max() > 0.01
    for place in (folder, folder / "lora"):
        found = stock_logits(AutoModelForCausalLM.from_pretrained, base, place, ids)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    capsys.readouterr()
    pasted(folder)
    shown = capsys.readouterr().out
    (tmp_path / "new.txt").write_text("A crate has 8 bottles. How many do 4 crates have?\n")
    settings = answering(run) | {"max_new_tokens": 16}
    (row,) = predict(run, {"prompts": tmp_path / "new.txt"}, settings)
    assert shown == row["output"] + "\n"
    # Merged and saved with tied embeddings, as vLLM is given it.
    causal_lm.load_run(base, run.method, run.last, "float32", "cpu", merge=True).save_pretrained(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    with torch.inference_mode():
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)


def test_the_cache_counts_the_heads_that_have_keys(base, monkeypatch):
    """Grouped queries: two of four heads have keys and values, of 16 numbers instead of 32 / 4."""
    each = 2 * 2 * 2 * 16 * 4  # keys and values; layers; heads; numbers in float32
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10.5 * 50 * each / decoding.FREE)
    rows, why = decoding.fitting_rows(causal_lm.load_model(base, "float32"), 50)
    assert rows == 10 and f"50 tokens of {each / 1024:g} KiB" in why


@pytest.mark.parametrize(("targets", "head"), [(["lm_head"], []), (["q_proj"], ["lm_head"])])
def test_tied_embeddings_get_no_adapter_and_no_copy(base, targets, head):
    method = support.method("lora", targets=targets)
    with pytest.raises(JobError, match=r"lm_head: expected its own weight, .*embed_tokens.*lm_head"):
        adapters.insert(causal_lm.load_model(base, "float32"), method, head)


@pytest.mark.parametrize("kind", ["lora", "hra", "ia3"])
def test_targets_are_peft_s_or_all_linear_layers(base, kind):
    own = getattr(peft.utils, f"TRANSFORMERS_MODELS_TO_{kind.upper()}_TARGET_MODULES_MAPPING")
    spec = support.method("peft", type=kind, peft=support.SMALL.get(kind, {"r": 4}))
    for targets in ("all-linear", "default"):
        model = causal_lm.load_model(base, "float32")
        expected = sums.LLAMA_TARGETS if targets == "all-linear" else own[model.config.model_type]
        adapted = adapters.insert(model, spec | {"targets": targets})
        names = adapted.base_model.targeted_module_names
        assert {name.rpartition(".")[2] for name in names} == set(expected) and len(names) == 2 * len(expected)


MODERNBERT = {
    "kind": "init",
    "generator": "hra_workflow.models.random_weights:transformers_model",
    "model_type": "modernbert",
    "config": {
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "local_attention": 8,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
}


@pytest.mark.slow
def test_modernbert_predicts_and_is_loaded_by_stock_libraries(tmp_path, monkeypatch):
    import evaluate_glue

    monkeypatch.chdir(tmp_path)
    support.write_sentences(tmp_path / "raw")
    given = support.downloaded(tmp_path, MODERNBERT, "glue/tiny", support.DATASET)
    settings = {"epochs": 20 / 6, "learning_rate": 1e-2}
    run = support.Run(tmp_path / "run", given, support.method("hra", targets="all-linear"), **settings).started()
    train(run)
    record = files.read_json(run.train["output"]["record"])
    # The encoder has no head: transformers' own, a layer and the classifier, is trained.
    assert record["trainable_parameters"] - record["adapter_parameters"] == (32 * 32 + 32) + (32 * 2 + 2)
    evaluate_glue.main(run.evaluate)
    metrics = files.read_json(run.evaluate["output"]["metrics"])["selections"]["last"]["metrics"]
    assert metrics["accuracy"]["value"] == record["curve"][-1]["metrics"]["accuracy"]
    (folder, _), base = export_unevaluated(run, tmp_path / "hub", {}), manifests.folder(given["model"])
    ids, found = torch.arange(5, 37).reshape(2, 16), []
    for place in (run.last.parent, folder, folder / "lora"):
        found.append(stock_logits(AutoModelForSequenceClassification.from_pretrained, base, place, ids))
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)
    torch.testing.assert_close(found[0], found[2], atol=1e-4, rtol=1e-4)
    assert found[0].std() > 1e-3
