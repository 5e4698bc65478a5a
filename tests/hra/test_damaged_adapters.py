"""The command line on adapters and base models that do not fit or are damaged."""

import json
import logging
import re

import pytest
import torch
from peft import HRAConfig, get_peft_model
from safetensors.torch import load_file, save_file
from sidebyside import close, llama

from hra.__main__ import main


def test_an_adapter_is_no_base_model(saved):
    folder, _ = saved
    with pytest.raises(SystemExit, match=r"base model .*/adapter: expected a model, found an adapter\. Correct --base"):
        main(["merge", str(folder / "adapter"), str(folder / "out"), "--base", str(folder / "adapter")])


@pytest.fixture
def classifier(tmp_path):
    """Write a base model without classifier, and an adapter with one for three labels; return the trained model."""
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path / "base")
    base = BertForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    config = HRAConfig(r=4, init_weights=False, target_modules=["query"], modules_to_save=["classifier"])
    model = get_peft_model(base, config)
    model.save_pretrained(tmp_path / "adapter")
    return model.eval()


@pytest.fixture
def logged():
    """Collect transformers' messages, which its own handler prints to stderr."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("transformers").addHandler(handler)
    yield messages
    logging.getLogger("transformers").removeHandler(handler)


def test_a_classifier_that_the_adapter_has_is_not_reported_missing(logged, classifier, tmp_path, capsys, recwarn):
    from transformers import AutoModelForSequenceClassification

    assert "MISSING" in "".join(logged)
    logged.clear()
    main(["merge", str(tmp_path / "adapter"), str(tmp_path / "merged")])
    assert logged == [] and "warning" not in capsys.readouterr().err
    assert not [one for one in recwarn if "is_gradient_checkpointing" in str(one.message)]
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    tokens = torch.arange(5)[None]
    close(merged(tokens).logits, classifier(tokens).logits, 24)


def test_weights_that_neither_has_are_reported(classifier, tmp_path, capsys):
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"modules_to_save": None}))
    path = path.with_name("adapter_model.safetensors")
    save_file({key: u for key, u in load_file(path).items() if key.endswith("hra_u")}, path)
    main(["merge", str(tmp_path / "adapter"), str(tmp_path / "merged")])
    message = r"warning: neither .*/base nor .*/adapter has weights for classifier\.bias, classifier\.weight: they are"
    assert re.search(message, capsys.readouterr().err)


def test_an_adapter_of_another_size_is_refused(saved):
    folder, _ = saved
    llama(hidden_size=8).save_pretrained(folder / "other")
    with pytest.raises(SystemExit, match=r"(?s)adapter does not fit .*other: .*size mismatch.*Correct --base"):
        main(["merge", str(folder / "adapter"), str(folder / "out"), "--base", str(folder / "other")])
    assert not (folder / "out").exists()


def rewrite(adapter, change):
    """Rewrite an adapter file with `change(tensors)`."""
    path = adapter / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


DAMAGES = {
    "a layer is missing": (lambda u: dict(list(u.items())[1:]), r"found no base_model\.model\.\S+ "),
    "no layer": (lambda u: {}, r"found no base_model\.model\.\S+ and 1 more"),
    "a layer too many": (
        lambda u: u | {"base_model.model.lm_head.hra_u": torch.ones(16, 4)},
        r"no base_\S+lm_head.hra_u",
    ),
    "other keys": (lambda u: {key.replace("model.", ""): one for key, one in u.items()}, r"found no base_model"),
}


@pytest.mark.parametrize("command", ["to-lora", "merge"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_incomplete_adapter_file_is_an_error(saved, monkeypatch, command, damage):
    folder, _ = saved
    monkeypatch.chdir(folder)
    change, message = DAMAGES[damage]
    rewrite(folder / "adapter", change)
    with pytest.raises(SystemExit, match=rf"^hra {command}: adapter.*{message}.*--base\."):
        main([command, "adapter", "out"])
    assert not (folder / "out").exists()


CONFIGS = {
    "an unknown type": ({"peft_type": "NEW"}, r"expected a `peft_type` that PEFT \S+ has, found 'NEW'\. Correct"),
    "sides": ({"two_sided": "yes"}, r"expected .*HRAConfig: expected `two_sided` to be True or False, found 'yes'"),
    "magnitudes": ({"magnitudes": 1}, r"expected .*HRAConfig: expected `magnitudes` to be True or False, found 1"),
    "the start": ({"init_scale": "wide"}, r"expected .*HRAConfig: expected a positive number .*, found 'wide'\."),
    "no JSON": ('{"peft_type": "HR', r"expected a PEFT configuration as adapter_config\.json, found none \("),
    "no object": ("[1]", r"expected a PEFT configuration as adapter_config\.json, found none \("),
}


@pytest.mark.parametrize("command", ["to-lora", "merge", "inspect"])
def test_a_configuration_that_is_none_or_a_folder_without_weights_is_an_error(saved, monkeypatch, command):
    folder, _ = saved
    monkeypatch.chdir(folder)
    path = folder / "adapter/adapter_config.json"
    written = path.read_text()
    more = [] if command == "inspect" else ["out"]

    def refused(message: str) -> None:
        with pytest.raises(SystemExit, match=rf"^hra {command}: adapter: {message}"):
            main([command, "adapter", *more])
        assert not (folder / "out").exists()

    for change, message in CONFIGS.values():
        path.write_text(change if isinstance(change, str) else json.dumps(json.loads(written) | change))
        refused(message)
    path.write_text(written)
    path.with_name("adapter_model.safetensors").unlink()
    refused(r"expected adapter_model\.safetensors or adapter_model\.bin, found neither\. Copy or download")


@pytest.mark.parametrize("name", ["classifier.weight", "query.hra_u"])
@pytest.mark.parametrize("command", ["to-lora", "merge"])
def test_an_incomplete_adapter_with_a_classifier_is_an_error(classifier, tmp_path, command, name):
    rewrite(tmp_path / "adapter", lambda u: {key: one for key, one in u.items() if not key.endswith(name)})
    with pytest.raises(SystemExit, match=rf"/adapter: expected .*found no base_model\.model\.\S*{name}"):
        main([command, str(tmp_path / "adapter"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("command", ["to-lora", "merge"])
@pytest.mark.parametrize("name", ["classifier.weight", "query.hra_u"])
def test_an_adapter_with_NaN_or_infinity_is_an_error_that_names_file_and_tensor(
    classifier, tmp_path, command, name, value
):
    rewrite(tmp_path / "adapter", lambda u: {key: one + value if name in key else one for key, one in u.items()})
    message = rf"^hra {command}: {tmp_path}/adapter/adapter_model\.safetensors: .*NaN or infinity in \S+{name}\. Train"
    with pytest.raises(SystemExit, match=message):
        main([command, str(tmp_path / "adapter"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["adapter/adapter_model.safetensors", "base/model.safetensors"])
@pytest.mark.parametrize("kept", [0, 5, -1])
def test_a_truncated_file_is_named(saved, place, kept):
    folder, _ = saved
    path = folder / place
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SystemExit, match=rf"^hra merge: {path}: .*truncated or corrupted file \(.*\)\. Copy it"):
        main(["merge", str(folder / "adapter"), str(folder / "out")])
    assert not (folder / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04junk", b"junk"])
def test_a_damaged_file_of_torch_save_is_named(saved, content):
    folder, _ = saved
    (folder / "adapter/adapter_model.safetensors").unlink()
    (path := folder / "adapter/adapter_model.bin").write_bytes(content)
    with pytest.raises(SystemExit, match=rf"^hra merge: {path}: expected "):
        main(["merge", str(folder / "adapter"), str(folder / "out")])
