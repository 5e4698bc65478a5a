"""This package over another PEFT: one whose HRA has other layers, one that lacks something."""

import copy
import csv
import dataclasses
import importlib
import os
import shutil
from pathlib import Path

import peft
import pytest
import torch
from peft import HRAConfig
from sidebyside import TARGETS, close

import benchmarks.__main__ as benchmarks
import hra
from benchmarks import cases
from benchmarks.other_peft import OtherPackages
from hra import checks

VERSION = "0.20.1.dev0"  # of a development version, which says little of what it can do
LAYERS = """
from .released import HRAConv2d, HRALayer
from .released import HRALinear as Released

class HRALinear(Released):
    def forward(self, x, *args, **kwargs):
        for name in [] if self.disable_adapters or self.merged else reversed(self.active_adapters):
            x = x @ self.get_delta_weight(name).mT  # the input is rotated, not the weight
        return self.base_layer(x)
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Write the sources of a PEFT with other layers: links to the installed one's files, but for two."""
    folder, installed = tmp_path_factory.mktemp("peft"), Path(peft.__file__).parent
    source = folder / "src/peft"
    shutil.copytree(installed, source, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))
    layers, init = source / "tuners/hra/layer.py", source / "__init__.py"
    layers.rename(layers.with_name("released.py"))
    layers.write_text(LAYERS)
    text = init.read_text()
    init.unlink()
    init.write_text(text.replace(f'"{peft.__version__}"', f'"{VERSION}"'))
    return OtherPackages(folder, ("peft", "hra"))


@pytest.fixture
def next_peft(other):
    """Import the rewritten PEFT, and a copy of this package that refers to it."""
    with other:
        ours = importlib.import_module("hra")
        yield importlib.import_module("peft"), ours
        ours.uninstall()


def adapted(library, net, **config):
    torch.manual_seed(1)
    config = {"r": 4, "target_modules": TARGETS, "init_weights": False} | config
    return library.get_peft_model(copy.deepcopy(net), library.HRAConfig(**config))


@pytest.mark.parametrize("config", [{}, {"apply_GS": True}, {"r": 3}, {"bias": "hra_only"}], ids=str)
def test_install_replaces_the_layers_of_a_rewritten_peft(next_peft, net, images, tmp_path, config):
    later, ours = next_peft
    if "bias" in config and not checks.saves_biases("hra_only"):
        pytest.skip("this PEFT does not save biases")
    assert later.__version__ == VERSION != peft.__version__
    theirs = adapted(later, net, **config)
    ours.install()
    mine = adapted(later, net, **config)
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
    read_here = later.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "theirs")
    assert type(read_here.base_model.model.first).__module__ == "hra.layers"
    ours.uninstall()
    read_there = later.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "ours")
    assert type(read_there.base_model.model.first).__module__ == "peft.tuners.hra.layer"
    for model in (read_here, read_there):
        close(model(images), mine(images), 168)


def test_a_peft_without_a_method_that_is_replaced_is_refused(monkeypatch):
    hra.uninstall()
    monkeypatch.setattr(checks.PeftHRALayer, "adapter_layer_names", ("hra_v",))
    monkeypatch.delattr(checks.PeftHRAModel, "_create_new_module")
    with pytest.raises(RuntimeError, match=r"with HRALayer\.hra_u, HRAModel\._create_new_module, found PEFT"):
        hra.install()


def test_an_option_that_only_a_later_peft_has_is_refused(net):
    @dataclasses.dataclass
    class Later(HRAConfig):
        block_size: int = 0

    with pytest.raises(ValueError, match=r"block_size=2: expected the options .*Leave it at 0"):
        hra.tuner.HRAModel(net, Later(target_modules=["first"], block_size=2), "default")
    hra.tuner.HRAModel(net, Later(target_modules=["first"]), "default")


def test_benchmarks_time_both_pefts_in_one_run_and_keep_the_results_of_another_processor(other, tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "next_peft", other)
    monkeypatch.setattr(benchmarks, "ROUNDS", 1)
    monkeypatch.setattr(benchmarks, "MOST_ROUNDS", 1)
    monkeypatch.setattr(benchmarks, "RESULTS", tmp_path)
    case = cases.linear(8, 2, 4, torch.float32)
    base, _ = case.base()
    layers = {kind: cases.adapt(base, kind, case).base_model.model[0] for kind in ("peft", "next", "hra")}
    files = [Path(type(layer).forward.__code__.co_filename) for layer in layers.values()]
    assert [file.is_relative_to(other.folder) for file in files] == [False, True, False]
    row = benchmarks.row(case, "step", benchmarks.measure(case.steps()), "s")
    assert all(float(row[kind]) > 0 for kind in ("frozen", "lora", "peft", "next", "hra"))
    assert row["next/lora"] == pytest.approx(float(row["next"]) / float(row["lora"]), rel=0.01)
    assert row["machine"].endswith(f"PEFT {peft.__version__}, next PEFT {VERSION} ({other.folder.name})")
    for machine in ("another, 2 threads", row["machine"], row["machine"]):
        benchmarks.save("linear", [row | {"machine": machine}])
    with open(tmp_path / "linear.csv") as file:
        assert sorted(saved["machine"] for saved in csv.DictReader(file)) == sorted(
            [row["machine"], "another, 2 threads"]
        )
    with pytest.raises(ValueError, match=r"expected a folder with PEFT's sources .*found none"):
        OtherPackages(tmp_path)
