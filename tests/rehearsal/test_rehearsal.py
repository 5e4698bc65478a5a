"""A job rehearsed on a fake GPU: its memory, and the mistakes that a CPU does not show."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import controlled
import subjects
from hra_workflow.rehearsal import cuda
from hra_workflow.rehearsal.timing import EFFICIENCY, LAUNCH_SECONDS
from support import ROOT, method

pytestmark = pytest.mark.slow

FAULTY = """
import torch

def main(job):
    fault = job["params"]["fault"]
    layer = torch.nn.Linear(1000, 1000, device="cuda")
    optimizer = torch.optim.AdamW(layer.parameters())
    x = torch.randn(job["params"]["rows"], 1000, device="cpu" if fault == "device" else "cuda")
    kept = []
    for _ in range(3):
        y = layer(x.half() if fault == "dtype" else x).relu()
        loss = y.square().mean()
        if fault == "item and leak" and loss.item() >= 0:
            kept.append(y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""


@pytest.fixture
def rehearse(tmp_path):
    """rehearse(script, job, card="h100") → what was observed."""

    def run(script, job: dict, *options: str) -> dict:
        (tmp_path / "job.json").write_text(json.dumps(job))
        command = [sys.executable, "-m", "hra_workflow.rehearsal", script]
        done = subprocess.run(
            [*command, tmp_path / "job.json", tmp_path / "result.json", *options], capture_output=True, text=True
        )
        assert (tmp_path / "result.json").exists(), done.stderr
        return json.loads((tmp_path / "result.json").read_text())

    return run


@pytest.fixture
def faulty(rehearse, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)

    def run(fault: str | None, rows: int = 500, *options: str) -> dict:
        job = {"rule": "train", "wildcards": {}, "resources": {}, "log": str(tmp_path / "log")}
        job["params"] = {"fault": fault, "rows": rows}
        return rehearse(tmp_path / "faulty.py", job, *options)

    return run


def test_memory_is_counted_to_the_byte(faulty):
    found = faulty(None)
    size, rows = 1000 * 1000 * 4 + 1000 * 4, 500 * 1000 * 4
    assert found["error"] is None and [step["waits"] for step in found["steps"]] == [[], [], []]
    assert found["parts"] | {"activations": 0} == {
        "weights": size, "gradients": size, "optimizer": 2 * size, "activations": 0
    }  # fmt: skip
    # x, the output of the layer and its relu, which is also the square's input; the gradients of two of them at a time.
    assert 4 * rows <= found["parts"]["activations"] <= 6 * rows
    assert found["steps"][1]["live_bytes"] == found["steps"][2]["live_bytes"]
    flops = 2 * 2 * 500 * 1000 * 1000  # x needs no gradient
    assert found["steps"][1]["flops"] == {"float32": flops}
    products = flops / (EFFICIENCY["float32"] * cuda.CARDS["h100"].speed.float32)
    assert products < found["steps"][1]["busy_seconds"] < 3 * products  # AdamW and what is elementwise


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("device", "same device"),
        pytest.param("dtype", "same dtype, found torch.float16 and torch.float32", marks=pytest.mark.full),
    ],
)
def test_a_wrong_device_or_dtype_fails_as_on_a_gpu(faulty, fault, message):
    assert message in faulty(fault)["error"]


def test_an_item_in_a_step_and_a_leak_are_seen(faulty):
    steps = faulty("item and leak")["steps"]
    assert all(step["waits"] == [{"what": "item()", "lines": "", "count": 1}] for step in steps)
    first, second, third = (step["live_bytes"] for step in steps)
    assert third - second == second - first > 0


@pytest.mark.parametrize(
    ("task", "trained"),
    [
        pytest.param("", method("hra"), marks=pytest.mark.full),
        ("math_", method("hra", targets=["q_proj", "v_proj"])),
        ("subject_", subjects.unet_method()),
        pytest.param("control_", controlled.unet_method(), marks=pytest.mark.full),
    ],
)
def test_a_training_job_of_every_task(rehearse, request, task, trained):
    run = request.getfixturevalue(f"make_{task}run")(trained, epochs=1)
    job = run.train
    job["resources"] |= {"gpu": 1}
    job["params"] |= {"device": "cuda"}
    found = rehearse(ROOT / f"workflow/scripts/{job['rule']}.py", job)
    assert found["error"] is None and len(found["steps"]) > 1 and found["parts"]["weights"] > 0
    waits = {wait["what"] for step in found["steps"][1:] for wait in step["waits"]}
    assert waits <= {"item()", "copy to the host", "copy to a file"}
    assert json.loads(Path(job["output"]["record"]).read_text())["status"] == "ok"
    # So small a step is over when its kernels are queued.
    step = found["steps"][1]
    assert step["busy_seconds"] < step["seconds"] == pytest.approx(step["operations"] * LAUNCH_SECONDS, rel=0.1)
