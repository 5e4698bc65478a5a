"""transformers' Trainer with FSDP and DeepSpeed: two processes (gloo) train like one, resume and save the adapter."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from on_ranks import base, on_ranks, saved, trained, written
from peft import load_peft_weights
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from own_code import PAGE, blocks
from support import ROOT
from two_ranks import on_two_ranks

LAM = 0.5


def alike(found, expected, tolerance=2e-6):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance)


def same(found, expected):
    assert found.keys() == expected.keys() and all(torch.equal(found[name], one) for name, one in expected.items())


def check(folder, one, alone, sharded=True, tolerance=2e-6):
    for rank in range(2):
        found = torch.load(folder / f"whole/{rank}.pt")
        alike(found["weights"], alone, tolerance)
        held = found["held"] / sum(p.numel() for p in one.model.parameters())
        assert held < 0.51 if sharded else held == 1
        expected = ("export it in one process", "sharded (FSDP, ZeRO-3)") if sharded else ()
        assert all(part in error for error, part in zip(found["errors"], expected, strict=True))
        same(torch.load(folder / f"resumed/{rank}.pt")["weights"], found["weights"])
        best = torch.load(folder / f"best/{rank}.pt")["weights"]
        same(best, load_peft_weights(str(folder / "out/checkpoint-2"), device="cpu"))
        assert any((best[name] - tensor).abs().max() > 1e-2 for name, tensor in found["weights"].items())
        # The evaluations between its steps have changed nothing.
        same(load_peft_weights(str(folder / "out/checkpoint-4"), device="cpu"), found["weights"])


@pytest.mark.full
def test_fsdp2_trains_as_one_process(tmp_path):
    fsdp, _ = blocks("transformers: sharding, compilation, resuming")
    base(tmp_path)
    one = trained(tmp_path, lam=LAM)
    alone = saved(one, tmp_path / "one")
    on_ranks(tmp_path, "fsdp", fsdp, {"lam": LAM})
    check(tmp_path, one, alone)
    without = saved(trained(tmp_path), tmp_path / "without")
    assert all((without[name] - tensor).abs().max() > 1e-2 for name, tensor in alone.items())


def in_fsdp1(folder, code):
    with pytest.raises(ValueError, match="FSDP1"):
        trained(folder, "fsdp", code, lam=LAM)
    # On a CPU, the Trainer cannot save with FSDP1: the state dict that accelerate requests ends torch 2.13 (SIGSEGV).
    trainer = trained(folder, "fsdp", code, save_strategy="no")
    state = get_model_state_dict(trainer.model, options=StateDictOptions(full_state_dict=True))
    return {name: tensor for name, tensor in state.items() if "hra_u" in name}


@pytest.mark.slow
def test_fsdp1_trains_as_one_process_and_refuses_the_penalty(tmp_path):
    fsdp, _ = blocks("transformers: sharding, compilation, resuming")
    fsdp = fsdp.replace('"version": 2', '"version": 1, "sync_module_states": False')  # accelerate needs a GPU for that
    base(tmp_path)
    one = saved(trained(tmp_path), tmp_path / "one")
    for found in on_two_ranks(in_fsdp1, tmp_path, tmp_path, fsdp):
        alike({name.replace(".default", ""): tensor for name, tensor in found.items()}, one)


@pytest.mark.full
@pytest.mark.parametrize(("stage", "autocast"), [(1, False), (2, False), (3, False), (3, True)])
@pytest.mark.parametrize("tool", ["deepspeed"], indirect=True)
def test_deepspeed_trains_as_one_process(tool, stage, autocast, tmp_path):
    _, deepspeed = blocks("transformers: sharding, compilation, resuming")
    _, compute_loss = blocks("transformers")
    deepspeed = deepspeed.replace('"stage": 3', f'"stage": {stage}, "stage3_param_persistence_threshold": 0')
    if autocast:
        option = '"torch_autocast": {"enabled": True, "dtype": "bfloat16"}'
        assert option in PAGE.read_text()
        deepspeed = deepspeed.replace("deepspeed={", f"deepspeed={{{option},")
    base(tmp_path)
    one = trained(tmp_path, lam=LAM)
    alone = saved(one, tmp_path / "one")
    paths = os.pathsep.join(str(ROOT / one) for one in ("tests", "tests/hra"))
    environment = os.environ | {"PYTHONPATH": paths, "DS_ACCELERATOR": "cpu"}
    call = json.dumps(["deepspeed", deepspeed + compute_loss, {"lam": LAM}])
    subprocess.run([tool, Path(__file__).with_name("on_ranks.py"), tmp_path, call], env=environment, check=True)
    check(tmp_path, one, alone, sharded=stage == 3, tolerance=1e-3 if autocast else 2e-6)
    expected, found = written(one.model), torch.load(tmp_path / "whole/0.pt")
    for name in ("lora", "merged"):
        alike(found[name], expected[name], 1e-2 if autocast else 1e-5)
