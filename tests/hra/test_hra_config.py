"""The options that PEFT's configuration of HRA lacks: `init_scale`, and those that have left, which are refused."""

import json

import pytest
from peft import PeftConfig, PeftModel
from sidebyside import adapt
from torch import nn

import hra

MESSAGE = r"found `{}`\. Use hra 0\.2\.0, the last version that has them; .* the `peft_type` .* \"HRA_EXTENDED\"\."
LEFT = {"two_sided": True, "magnitudes": True, "target_parameters": ["experts"]}
TYPES = (
    "HRA_EXTENDED",
    "HRA_EXTENDED: PEFT loads this adapter only with the Python package hra (newer than 0.2.0). Install it, then run "
    "`import hra; hra.install()` first. Or export a LoRA or DoRA for PEFT without it: `hra to-lora ADAPTER OUT`",
)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "small", True])
def test_a_wrong_init_scale_is_an_error(value):
    with pytest.raises(ValueError, match=f"expected a positive number as `init_scale`, found {value!r}"):
        hra.HRAConfig(r=4, init_scale=value)


def test_a_configuration_with_init_scale_has_the_type_of_others(tmp_path):
    hra.HRAConfig(init_scale=0.5).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "HRA" and config["init_scale"] == 0.5 and config.keys().isdisjoint(LEFT)


@pytest.mark.parametrize("name", LEFT)
def test_an_option_that_has_left_is_refused_with_the_last_version_that_has_it(name):
    """PEFT would ignore an unknown option, and the adapter would compute something else."""
    with pytest.raises(ValueError, match=MESSAGE.format(name)):
        hra.HRAConfig(**{name: LEFT[name]})


def test_two_options_that_have_left_are_named():
    with pytest.raises(ValueError, match=MESSAGE.format("two_sided`, `magnitudes")):
        hra.HRAConfig(two_sided=True, magnitudes=True)


@pytest.fixture
def base():
    return nn.Sequential(nn.Linear(12, 8))


@pytest.fixture
def configured(base, tmp_path):
    """Write an adapter, with other options in its file."""

    def configured(**options):
        adapt(base, target_modules=["0"]).save_pretrained(tmp_path)
        file = tmp_path / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | options))
        return tmp_path

    return configured


@pytest.mark.parametrize("load", [PeftConfig.from_pretrained, None], ids=["configuration", "model"])
@pytest.mark.parametrize("kind", ["HRA", *TYPES], ids=["HRA", "0.2.0", "later"])
@pytest.mark.parametrize("name", ["two_sided", "magnitudes"])
def test_a_file_with_an_option_that_has_left_is_refused(base, configured, name, kind, load):
    folder = configured(peft_type=kind, **{name: True})
    with pytest.raises(ValueError, match=MESSAGE.format(name)):
        load(folder) if load else PeftModel.from_pretrained(base, folder)


@pytest.mark.parametrize("kind", TYPES, ids=["0.2.0", "later"])
def test_PEFT_alone_refuses_such_a_file_by_its_type(base, configured, kind):
    folder = configured(peft_type=kind, two_sided=True)
    hra.uninstall()
    with pytest.raises(KeyError, match="HRA_EXTENDED"):
        PeftModel.from_pretrained(base, folder)


def test_a_file_that_has_them_switched_off_loads(base, configured):
    folder = configured(two_sided=False, magnitudes=False)
    assert PeftModel.from_pretrained(base, folder).peft_config["default"].to_dict().keys().isdisjoint(LEFT)
