"""`hra inspect`: what an adapter does to each layer."""

import pytest
import sidebyside
import torch
from peft import HRAConfig, get_peft_model
from safetensors.torch import load_file, save_file
from sidebyside import Net, adapt
from torch import nn

from hra.__main__ import main
from hra.inspection import measure
from hra.reflections import compact

KEY = "base_model.model.model.layers.0.self_attn.v_proj"


def saved(folder) -> str:
    """Save an adapter of a tiny Llama."""
    get_peft_model(sidebyside.llama(), HRAConfig(r=4, init_weights=False)).save_pretrained(folder)
    return str(folder)


def rewrite(folder, change) -> dict:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return tensors


@pytest.mark.parametrize("apply_GS", [False, True])
def test_measures_are_those_of_the_dense_matrix(tmp_path, apply_GS):
    model = adapt(nn.Sequential(nn.Linear(9, 5)), target_modules=["0"], apply_GS=apply_GS)
    model.save_pretrained(tmp_path)
    (found,) = measure(str(tmp_path))
    V, B = compact(model.base_model.model[0].hra_u["default"].double(), apply_GS)
    H = sidebyside.dense(V, B)
    angle = torch.linalg.eigvals(H).angle().abs().max().rad2deg()
    assert found["distance"] == pytest.approx((H - torch.eye(9)).norm().item())
    assert found["angle"] == pytest.approx(angle.item())
    assert (found["layer"], found["n"], found["r"], found["parameters"]) == ("0", 9, 4, 36)


def test_an_adapter_at_its_start_measures_as_the_identity(tmp_path):
    adapt(Net(), init_weights=True).save_pretrained(tmp_path)
    for found in measure(str(tmp_path)):
        assert found["distance"] < 1e-6 and found["angle"] < 1e-4


def test_inspect_prints_a_row_per_layer(tmp_path, capsys):
    folder = saved(tmp_path)
    found = measure(folder)
    assert [layer["layer"].rpartition(".")[2] for layer in found] == ["q_proj", "v_proj"]
    main(["inspect", folder])
    title, headings, *rows = capsys.readouterr().out.splitlines()
    assert title == f"{folder}: 128 parameters" and headings.split()[:3] == ["n", "r", "parameters"]
    assert [row.split()[1:4] for row in rows] == [["16", "4", "64"]] * 2
    assert [row.split()[-1] for row in rows] == [f"{layer['angle']:.3g}" for layer in found]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_layer_with_NaN_has_a_row_that_says_so(tmp_path, capsys, monkeypatch, value):
    folder = saved(tmp_path)
    rewrite(tmp_path, lambda u: u[f"{KEY}.hra_u"][3].__setitem__(1, value))
    eigvals = torch.linalg.eigvals

    def crashing(matrix):
        assert matrix.isfinite().all()  # LAPACK ends in a segmentation fault otherwise, on some machines
        return eigvals(matrix)

    monkeypatch.setattr(torch.linalg, "eigvals", crashing)
    main(["inspect", folder])
    shown = [line.split()[-3:] for line in capsys.readouterr().out.splitlines() if "_proj" in line]
    assert sorted(row.count("nan") for row in shown) == [0, 3]
