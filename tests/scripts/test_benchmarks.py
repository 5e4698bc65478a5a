"""The benchmark of whole models on a GPU, run on small models on the CPU."""

import pytest
import torch
from torch import nn

from benchmarks import cases, gpu


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
    n, r = 64, 4  # the widths of both layers' inputs
    hra, out = n * r, 32 + 16
    assert {kind: row["parameters"] for kind, row in rows.items()} == {
        "frozen": 0,
        "lora": (n + out) * r,
        "oft": n * (2 * r - 1) // 2,
        "boft": 2 * n * r + out,  # PEFT stores whole blocks of both factors, and a scale for each output
        "peft": hra,
        "hra": hra,
    }
    assert all(float(row["10 %"]) <= float(row["seconds"]) <= float(row["90 %"]) for row in rows.values())
    assert rows["lora"]["times LoRA"] == 1


def test_a_method_that_does_not_fit_into_memory_is_a_row_of_its_own(small, monkeypatch):
    monkeypatch.setattr(gpu, "ROUNDS", 3)
    adapt = cases.adapt

    def short_of_memory(base, kind, case):
        model = adapt(base, kind, case)
        if kind == "peft":
            model.forward = lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
        return model

    monkeypatch.setattr(cases, "adapt", short_of_memory)
    rows = {row["kind"]: row for row in gpu.measure(small, "cpu", ("lora", "peft", "hra"))}
    assert rows["peft"]["seconds"] == "out of memory" and rows["peft"]["times LoRA"] == ""
    assert float(rows["hra"]["seconds"]) > 0


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="expected a GPU for --device cuda"):
        gpu.run("cuda", tmp_path)


def test_help_is_the_description_of_the_command(capsys):
    from benchmarks.__main__ import main

    main(["--help"])
    assert "python -m benchmarks all" in capsys.readouterr().out
