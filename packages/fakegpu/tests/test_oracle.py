"""The peak of a training on the fake GPU is that of torch's MemTracker, which counts the same training on the CPU."""

import json
import subprocess
import sys

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

TRAINING = """
import torch


def build(device):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(512, 2048), torch.nn.GELU(), torch.nn.Linear(2048, 512), torch.nn.LayerNorm(512)]
    model = torch.nn.Sequential(torch.nn.Embedding(1000, 512), *layers, torch.nn.Linear(512, 1000)).to(device)
    return model, torch.optim.AdamW(model.parameters(), foreach=False)


def train(model, optimizer, device, steps):
    for _ in range(steps):
        ids = torch.arange(4096, device=device) % 1000
        torch.nn.functional.cross_entropy(model(ids), ids).backward()
        optimizer.step()
        optimizer.zero_grad()


def main(job):
    train(*build("cuda"), "cuda", 2)
"""


@pytest.mark.slow
def test_the_peak_is_that_of_torch_s_tracker(tmp_path):
    (tmp_path / "script.py").write_text(TRAINING)
    (tmp_path / "job.json").write_text("{}")
    command = [sys.executable, "-m", "fakegpu", "script.py", "job.json", "out.json"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = json.loads((tmp_path / "out.json").read_text())["peak_bytes"]

    script: dict = {}
    exec(TRAINING, script)
    model, optimizer = script["build"]("cpu")
    script["train"](model, optimizer, "cpu", 1)  # the tracker allows one call of a module
    tracker = MemTracker()
    tracker.track_external(model, optimizer)
    with tracker:
        script["train"](model, optimizer, "cpu", 1)
    expected = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert found == pytest.approx(expected, rel=0.01)
