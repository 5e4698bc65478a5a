"""The benchmark of whole models on a GPU, run on small models on the CPU."""

import pytest
import torch
from torch import nn

from benchmarks import __main__ as benchmarks
from benchmarks import batch_sizes, blocks, cases, drift, gpu


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
        "dora": (n + out) * r + out,
        "oft": n * (2 * r - 1) // 2,
        "boft": 2 * n * r + out,  # PEFT stores whole blocks of both factors, and a scale for each output
        "peft": hra,
        "hra": hra,
        "two-sided": (n + out) * r,
    }
    assert all(float(row["10 %"]) <= float(row["seconds"]) <= float(row["90 %"]) for row in rows.values())
    assert rows["lora"]["times LoRA"] == 1


def test_a_machine_that_changes_its_speed_does_not_change_a_ratio(small):
    lora, hra = [1.0, 1.0, 1.5, 3.0, 3.0], [1.1, 1.1, 3.3, 3.3, 3.3]  # slower from the middle of the third round on
    row = benchmarks.row(small, "step", {"lora": lora, "hra": hra}, "s")
    assert row["hra/lora"] == pytest.approx(1.1)  # and not the 2.2 of the medians
    assert (row["lora"], row["hra"]) == ("1.5", "3.3")


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


def test_the_blocks_of_pefts_benchmarks_adapt_the_layers_that_these_name():
    """One head of each block instead of 24."""
    small = [
        blocks.layer("v_proj", 24, 8, torch.float32, tokens=3),
        blocks.decoder(
            torch.float32,
            3,
            {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 3, "num_key_value_heads": 1},
        ),
        *(blocks.flux2(stream, torch.float32, text=3, side=2, heads=1) for stream in blocks.STREAMS),
    ]
    width, found = 128, []
    for case in small:
        case.r = 2
        base, x = case.base()
        adapted = {kind: cases.adapt(base, kind, case) for kind in ("frozen", "lora", "hra")}
        outputs = [case.call(model, x) for model in adapted.values()]
        assert all(torch.allclose(outputs[0], one, atol=1e-5) for one in outputs)
        for step in case.steps().values():
            step()
        found.append(sum(p.numel() for p in adapted["hra"].parameters() if p.requires_grad) // 2)
    assert found == [24, 2 * 24, 8 * width + 2 * (width + 3 * width), width]
    shapes = {case.group.split(" ", 1)[1]: case.size for case in blocks.STEPS}
    assert shapes == {
        "llama-3.2-3b q_proj": "3072x3072 768 tokens",
        "llama-3.2-3b v_proj": "3072x1024 768 tokens",
        "llama-3.2-3b decoder block": "768 tokens",
        "flux.2-klein-4b double-stream block": "512 + 1024 tokens",
        "flux.2-klein-4b single-stream block": "512 + 1024 tokens",
    }
    assert {case.r for case in blocks.STEPS} == {32} and len(blocks.STEPS) == 10


@pytest.mark.parametrize("case", drift.cases(64), ids=lambda case: case.name)
def test_merging_and_unmerging_200_times_keeps_the_weight(case):
    """W H Hᵀ in float32, rounded 200 times; a copy in bfloat16."""
    relative, largest, outputs = (values for _, values in drift.measure(case))
    eps = torch.finfo(case.dtype).eps
    if case.dtype == torch.bfloat16:
        assert relative["hra"] == largest["hra"] == outputs["hra"] == [0]
        assert relative["peft"][0] > eps / 100 and relative["lora"][0] > eps / 100
    else:
        assert 0 < relative["hra"][0] < 100 * eps and outputs["hra"][0] < 100 * eps
        assert largest["hra"][0] < 200 * eps
        assert relative["lora"][0] < relative["hra"][0] < relative["peft"][0] / 3


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="expected a GPU for --device cuda"):
        gpu.run("cuda", tmp_path)


def test_help_is_the_description_of_the_command(capsys):
    from benchmarks.__main__ import main

    main(["--help"])
    assert "python -m benchmarks all" in capsys.readouterr().out


def test_answers_are_compared_by_their_tokens():
    assert batch_sizes.differing({0: [1, 2], 1: [3], 2: [4]}, {2: [4], 1: [5], 0: [1]}) == 2


def test_the_logits_of_an_answer_choose_its_tokens():
    model, (prompt, ids) = batch_sizes.causal_lm.load_model(batch_sizes.MODEL, "float32").eval(), batch_sizes.prompts()
    found = batch_sizes.answers(model, prompt, ids[:3], 2)
    assert [one.argmax(-1).tolist() for one in batch_sizes.logits(model, ids[:3], found, 2)] == [
        found[i] for i in range(3)
    ]
