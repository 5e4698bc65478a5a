"""The benchmark of whole models on a GPU, run on small models on the CPU."""

import pytest
import torch
from torch import nn

from benchmarks import __main__ as benchmarks
from benchmarks import blocks, cases, gpu


@pytest.fixture
def small():
    def build():
        return nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 16)), torch.randn(4, 32)

    return cases.Case("small", "4 rows", build, ["0", "1"], r=4)


@pytest.mark.full
def test_every_method_has_a_time_and_its_number_of_parameters(small, monkeypatch):
    from hra_workflow.models import butterfly

    butterfly.install()
    monkeypatch.setattr(gpu, "ROUNDS", 3)
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    rows = {row["kind"]: row for row in gpu.measure(small, "cpu")}
    assert list(rows) == list(gpu.KINDS)
    inputs, outputs, r = 64, 48, 4  # of both layers
    found = [rows[kind]["parameters"] for kind in ("frozen", "lora", "dora", "hra", "peft")]
    assert found == [0, (inputs + outputs) * r, (inputs + outputs) * r + outputs, inputs * r, inputs * r]
    assert all(float(row["10 %"]) <= float(row["seconds"]) <= float(row["90 %"]) for row in rows.values())
    assert rows["lora"]["times LoRA"] == 1


def test_a_machine_that_changes_its_speed_does_not_change_a_ratio(small):
    lora, hra = [1.0, 1.0, 1.5, 3.0, 3.0], [1.1, 1.1, 3.3, 3.3, 3.3]  # slower from the middle of the third round on
    row = benchmarks.row(small, "step", {"lora": lora, "hra": hra}, "s")
    assert row["hra/lora"] == pytest.approx(1.1)  # and not the 2.2 of the medians
    assert (row["lora"], row["hra"]) == ("1.5", "3.3")


@pytest.mark.parametrize("stream", blocks.STREAMS)
def test_the_blocks_of_flux2_adapt_the_layers_that_pefts_benchmark_names(stream):
    """One head of each block instead of 24."""
    case = blocks.flux2(stream, torch.float32, text=3, side=2, heads=1)
    case.r = 2
    base, x = case.base()
    adapted = {kind: cases.adapt(base, kind, case) for kind in ("frozen", "lora", "hra")}
    outputs = [case.call(model, x) for model in adapted.values()]
    assert all(torch.allclose(outputs[0], one, atol=1e-5) for one in outputs)
    for step in case.steps().values():
        step()
    inputs = 128 if stream == "single-stream" else 8 * 128 + 2 * (128 + 3 * 128)
    assert sum(p.numel() for p in adapted["hra"].parameters() if p.requires_grad) == 2 * inputs
