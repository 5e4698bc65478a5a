"""This package over another PEFT: one whose HRA is rewritten in compact form, one that lacks something."""

import copy
import dataclasses

import compact_peft
import pytest
import torch
from peft import HRAConfig
from sidebyside import TARGETS, close

import hra
from benchmarks.other_peft import OtherPackages
from hra import capabilities


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peft")
    compact_peft.write_sources(folder)
    return OtherPackages(folder, ("peft", "hra"))


@pytest.fixture
def next_peft(other):
    """Import the rewritten PEFT, and a copy of this package that refers to it."""
    with other:
        import peft

        import hra as ours

        yield peft, ours
        ours.uninstall()


def adapted(peft, net, **config):
    torch.manual_seed(1)
    config = {"r": 4, "target_modules": TARGETS, "init_weights": False} | config
    return peft.get_peft_model(copy.deepcopy(net), peft.HRAConfig(**config))


@pytest.mark.parametrize("config", [{}, {"apply_GS": True}, {"r": 3}, {"bias": "hra_only"}], ids=str)
def test_install_replaces_the_layers_of_a_rewritten_peft(next_peft, net, images, tmp_path, config):
    peft, ours = next_peft
    if "bias" in config and not capabilities.saves_biases("hra_only"):
        pytest.skip("this PEFT does not save biases")
    assert peft.__version__ == compact_peft.VERSION and peft is not capabilities.peft
    theirs = adapted(peft, net, **config)
    ours.install()
    mine = adapted(peft, net, **config)
    kinds = [type(model.base_model.model.first).__module__ for model in (theirs, mine)]
    assert kinds == ["peft.tuners.hra.layer", "hra.layers"]
    theirs.load_state_dict(mine.state_dict())
    for model in (mine, theirs):
        model(images).square().sum().backward()
    close(mine(images), theirs(images), 168)
    gradients = [p.grad for p in theirs.parameters() if p.requires_grad]
    for p, other in zip([p for p in mine.parameters() if p.requires_grad], gradients, strict=True):
        close(p.grad, other, 168, c=32)
    mine.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    read_here = peft.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "theirs")
    assert type(read_here.base_model.model.first).__module__ == "hra.layers"
    ours.uninstall()
    read_there = peft.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "ours")
    assert type(read_there.base_model.model.first).__module__ == "peft.tuners.hra.layer"
    for model in (read_here, read_there):
        close(model(images), mine(images), 168)


def test_a_peft_without_a_method_that_is_replaced_is_refused(monkeypatch):
    hra.uninstall()
    monkeypatch.setattr(capabilities.PeftHRALayer, "adapter_layer_names", ("hra_v",))
    monkeypatch.delattr(capabilities.PeftHRAModel, "_create_new_module")
    with pytest.raises(RuntimeError, match=r"with HRALayer\.hra_u, HRAModel\._create_new_module, found PEFT"):
        hra.install()


def test_an_option_that_only_a_later_peft_has_is_refused(net):
    @dataclasses.dataclass
    class Later(HRAConfig):
        block_size: int = 0

    with pytest.raises(ValueError, match=r"block_size=2: expected the options .*Leave it at 0"):
        hra.tuner.HRAModel(net, Later(target_modules=["first"], block_size=2), "default")
    hra.tuner.HRAModel(net, Later(target_modules=["first"]), "default")
