"""`hra inspect | to-lora | merge` on wrong arguments, damaged files, and adapters that do not fit their base model."""

import json
import logging
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from peft import HRAConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from sidebyside import Net, adapt, close, llama

from hra.__main__ import main

CONFIG, WEIGHTS = Path("adapter/adapter_config.json"), Path("adapter/adapter_model.safetensors")
MODEL = Path("base/model.safetensors")
MISTAKES, TWO, ALL = [], ("to-lora", "merge"), ("to-lora", "merge", "inspect")


def wrong(commands, message, prepare=lambda: None, adapter="adapter", base=None):
    """Add a mistake of `commands`: the error, what makes it, and the arguments."""
    for command in commands:
        words = [command, adapter, *["out"] * (command != "inspect"), *(["--base", base] if base else [])]
        MISTAKES.append(pytest.param(prepare, words, message, id=f"{command}: {message}"))


def configured(**keys):
    return lambda: CONFIG.write_text(json.dumps(json.loads(CONFIG.read_text()) | keys))


def rewrite(change):
    return lambda: save_file(change(load_file(WEIGHTS)), WEIGHTS, metadata={"format": "pt"})


def lacks(name):
    return rewrite(lambda tensors: {key: one for key, one in tensors.items() if not key.endswith(name)})


def has(name, *shape):
    return rewrite(lambda tensors: tensors | {name: torch.ones(shape)})


def truncated(path, kept):
    return lambda: path.write_bytes(path.read_bytes()[:kept])


def pickled(content):
    def prepare():
        WEIGHTS.unlink()
        WEIGHTS.with_suffix(".bin").write_bytes(content)

    return prepare


def other_size():
    llama(hidden_size=8).save_pretrained("other")


def other_class():
    adapt(Net()).save_pretrained("adapter")


def lora():
    get_peft_model(llama(), LoraConfig(r=2)).save_pretrained("adapter")


def without_model(tensors):
    return {key.replace("model.", ""): one for key, one in tensors.items()}


def existing_output():
    Path("out").mkdir()
    Path("out/model.safetensors").write_text("precious")


def objects():
    pickled(b"")()
    torch.save({"a": Net()}, WEIGHTS.with_suffix(".bin"))


# Arguments
wrong(TWO, r"out: expected a new or empty folder, found existing", existing_output)
wrong(TWO, r"base model ../models/base: .*found no folder /.*/models/base\. .*base\.$", base="../models/base")
wrong(TWO, r"base model my/models/base: .*found no folder /.*/my/models/base\. .*base\.$", base="my/models/base")
wrong(TWO, r"base model adapter: expected a model, found an adapter\. Correct --base", base="adapter")
wrong(
    ["merge"],
    r"[\s\S]*adapter does not fit .*other: [\s\S]*size mismatch[\s\S]*Correct --base",
    other_size,
    base="other",
)
wrong(TWO, r"pass --base FOLDER, .*adapter does not name its base model", configured(base_model_name_or_path=None))
wrong(ALL, r"nothere: expected an adapter's folder .* found no folder /.*/nothere\. Correct", adapter="nothere")
wrong(ALL, r"a/b: .*PEFT configuration .*Can't find 'adapter_config.json' at 'a/b'\)\. Correct", adapter="a/b")
wrong(["inspect"], r"base: expected adapter_config\.json in this folder, found none", adapter="base")
wrong(TWO, r".*found sidebyside\.Net\. Load the model in Python", other_class)  # `--base` would not help
wrong(["inspect"], r"adapter: expected an HRA adapter, found LORA", lora)
# The configuration
wrong(ALL, r"adapter: expected a `peft_type` that PEFT \S+ has, found 'NEW'\. Correct", configured(peft_type="NEW"))
wrong(ALL, r"adapter: .*HRAConfig: expected a positive number as `init_scale`, found 0", configured(init_scale=0))
for name in ("two_sided", "magnitudes"):
    wrong(
        ALL,
        rf"adapter: .* found `{name}`\. Use hra 0\.2\.0, .*\"HRA_EXTENDED\"",
        configured(**{name: True}, peft_type="HRA_EXTENDED"),
    )
for text in ('{"peft_type": "HR', "[1]"):
    message = r"adapter: expected a PEFT configuration as adapter_config\.json, found none \("
    wrong(ALL, message, partial(CONFIG.write_text, text))
# The tensors
wrong(ALL, r"adapter: expected \S+\.safetensors or \S+\.bin, found neither\. Copy or download", WEIGHTS.unlink)
wrong(TWO, r"adapter.*found no base_model\.model\.\S+ .*--base\.", lacks("q_proj.hra_u"))
wrong(TWO, r"adapter.*found no base_model\.model\.\S+ and 1 more.*--base\.", lacks("hra_u"))
wrong(["inspect"], r"adapter: expected tensors named hra_u, found none", lacks("hra_u"))
wrong(TWO, r"adapter.*no base_\S+lm_head.hra_u.*--base\.", has("base_model.model.lm_head.hra_u", 16, 4))
wrong(TWO, r"adapter.*found no base_model.*--base\.", rewrite(without_model))
for kept in (0, 5, -1):
    wrong(["merge", "inspect"], rf"{WEIGHTS}: .*truncated or corrupted file \(.*\)\. Copy it", truncated(WEIGHTS, kept))
    wrong(["merge"], r"/.*/base/model.safetensors: .*truncated or corrupted file .*\. Copy it", truncated(MODEL, kept))
for content in (b"", b"PK\x03\x04junk", b"junk"):
    wrong(["merge"], r"adapter/adapter_model.bin: expected ", pickled(content))
wrong(["inspect"], r".*_model\.bin: expected tensors, found other objects, which could exec", objects)


@pytest.mark.parametrize(("prepare", "words", "message"), MISTAKES)
def test_a_mistake_is_an_error_that_says_what_to_do(saved, monkeypatch, prepare, words, message):
    monkeypatch.chdir(saved[0])
    prepare()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit, match=rf"^hra {words[0]}: {message}"):
        main(words)
    assert sorted(Path().rglob("*")) == before


# Classifiers


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    """Write a base model without classifier, and an adapter with one for three labels; return the trained model."""
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=50, **sizes)).save_pretrained("base")
    base = BertForSequenceClassification.from_pretrained("base", num_labels=3)
    config = HRAConfig(r=4, init_weights=False, target_modules=["query"], modules_to_save=["classifier"])
    model = get_peft_model(base, config)
    model.save_pretrained("adapter")
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


def test_a_classifier_that_the_adapter_has_is_not_reported_missing(logged, classifier, capsys, recwarn):
    from transformers import AutoModelForSequenceClassification

    assert "MISSING" in "".join(logged)
    logged.clear()
    main(["merge", "adapter", "merged"])
    assert logged == [] and "warning" not in capsys.readouterr().err
    assert not [one for one in recwarn if "is_gradient_checkpointing" in str(one.message)]
    merged = AutoModelForSequenceClassification.from_pretrained("merged").eval()
    tokens = torch.arange(5)[None]
    close(merged(tokens).logits, classifier(tokens).logits, 24)


def test_weights_that_neither_has_are_reported(classifier, capsys):
    configured(modules_to_save=None)()
    rewrite(lambda tensors: {key: u for key, u in tensors.items() if key.endswith("hra_u")})()
    main(["merge", "adapter", "merged"])
    message = r"warning: neither base nor adapter has weights for classifier\.bias, classifier\.weight: they are"
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["to-lora", "merge"])
@pytest.mark.parametrize("name", ["classifier.weight", "query.hra_u"])
@pytest.mark.parametrize("value", [None, torch.nan, torch.inf])
def test_an_adapter_that_lacks_a_tensor_or_has_NaN_or_infinity_is_an_error_that_names_it(
    classifier, command, name, value
):
    message = rf"{WEIGHTS}: .*NaN or infinity in \S+{name}\. Train"
    if value is None:
        lacks(name)()
        message = rf"adapter: expected .*found no base_model\.model\.\S*{name}"
    else:
        rewrite(lambda u: {key: one + value if name in key else one for key, one in u.items()})()
    with pytest.raises(SystemExit, match=f"^hra {command}: {message}"):
        main([command, "adapter", "out"])
    assert not Path("out").exists()
