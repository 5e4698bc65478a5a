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


FAULTS = (None, "device", "dtype", "item and leak")
# The imports of a rehearsal take most of its time: those of the faulty jobs share them.
FORKS = """
import json, os, sys
from pathlib import Path
from hra_workflow.rehearsal import __main__, cuda

torch = cuda.load()
cuda.load = lambda: torch
import torch._dynamo, peft, diffusers.pipelines.stable_diffusion.safety_checker, hra_workflow.training.interruption
for number, job in enumerate(json.loads(sys.stdin.read())):
    if not os.fork():
        os._exit(__main__.main(Path("faulty.py").absolute(), job, Path(f"{number}.json"), cuda.CARDS["h100"]))
    os.wait()
"""


def observed(folder: Path, *arguments: str | Path, jobs: str = "", result: str = "result.json") -> dict:
    """Run a Python program and return the last observation that it has written."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, input=jobs, capture_output=True, text=True)
    assert (folder / result).exists(), done.stderr
    return json.loads((folder / result).read_text())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> dict:
    """Return what was observed of FAULTY with each fault."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faulty.py").write_text(FAULTY)
    common = {"rule": "train", "wildcards": {}, "resources": {}, "log": str(folder / "log")}
    jobs = [common | {"params": {"fault": fault, "rows": 500}} for fault in FAULTS]
    observed(folder, "-c", FORKS, jobs=json.dumps(jobs), result=f"{len(FAULTS) - 1}.json")
    return {fault: json.loads((folder / f"{number}.json").read_text()) for number, fault in enumerate(FAULTS)}


def test_memory_is_counted_to_the_byte(faulty):
    found = faulty[None]
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
    [("device", "same device"), ("dtype", "same dtype, found torch.float16 and torch.float32")],
)
def test_a_wrong_device_or_dtype_fails_as_on_a_gpu(faulty, fault, message):
    assert message in faulty[fault]["error"]


def test_an_item_in_a_step_and_a_leak_are_seen(faulty):
    steps = faulty["item and leak"]["steps"]
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
def test_a_training_job_of_every_task(tmp_path, request, task, trained):
    run = request.getfixturevalue(f"make_{task}run")(trained, epochs=1)
    job = run.train
    job["resources"] |= {"gpu": 1}
    job["params"] |= {"device": "cuda"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    script = ROOT / f"workflow/scripts/{job['rule']}.py"
    found = observed(tmp_path, "-m", "hra_workflow.rehearsal", script, "job.json", "result.json")
    assert found["error"] is None and len(found["steps"]) > 1 and found["parts"]["weights"] > 0
    waits = {wait["what"] for step in found["steps"][1:] for wait in step["waits"]}
    assert waits <= {"item()", "copy to the host", "copy to a file"}
    assert json.loads(Path(job["output"]["record"]).read_text())["status"] == "ok"
    # So small a step is over when its kernels are queued.
    step = found["steps"][1]
    assert step["busy_seconds"] < step["seconds"] == pytest.approx(step["operations"] * LAUNCH_SECONDS, rel=0.1)
