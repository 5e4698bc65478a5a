"""A job rehearsed on a fake GPU: its memory, and the mistakes that a CPU does not show."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import control_jobs
import controlled
import subjects
from fakegpu import cuda
from fakegpu.timing import EFFICIENCY, KERNEL_SECONDS, LAUNCH_SECONDS
from fakegpu.workflow import cards, model_sizes
from fakegpu.workflow import findings as rehearsed
from hra_workflow import tasks
from hra_workflow.core import grid, launcher
from rule_jobs import maker
from sums import SUMS, TINY_LLAMA, MathRun, write_sums
from support import DATASET, ROOT, TINY_MODEL, Run, downloaded, method, paper_config, write_sentences

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
        if fault == "float64":
            y.double() @ y.double().mT
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""


FAULTS = (None, "device", "dtype", "item and leak", "float64")
# The imports of a rehearsal take most of its time, so jobs share them. `planted`: a module, and the file of its copy.
FORKS = """
import gc, importlib, json, os, sys
from pathlib import Path
from fakegpu import cuda
from fakegpu.workflow import job as rehearsal

torch, settings = cuda.load(), rehearsal.settings
cuda.load = lambda: torch
import torch._dynamo, peft, diffusers.pipelines.stable_diffusion.safety_checker
import hra_workflow.training.diffusion_trainer, hra_workflow.training.hf_trainer, hra_workflow.training.callbacks
gc.freeze()
for line in sys.stdin:
    script, job, result, planted = json.loads(line)
    if not os.fork():
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if planted:
            module, copy = planted
            exec(compile(Path(copy).read_text(), copy, "exec"), importlib.import_module(module).__dict__)
            own = [str(Path(copy).parent)]
            rehearsal.settings = lambda *job: settings(*job) | {"own": settings(*job)["own"] + own}
        os._exit(rehearsal.main(Path(script), job, Path(result), cuda.CARDS["h100"]))
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def rehearse():
    """Provide rehearse(script, job, planted=None): what was observed of a job that has requested one GPU."""
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", FORKS], text=True, **pipes) as server:

        def observed(script: Path, job: dict, planted: tuple[str, str] | None = None) -> dict:
            result = Path(job["log"]).with_suffix(".out.json")
            print(json.dumps([str(script), job, str(result), planted]), file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            assert result.exists(), Path(job["log"]).read_text()
            return json.loads(result.read_text()) | {"status": status}

        yield observed
        server.stdin.close()


@pytest.fixture(scope="module")
def faulty(rehearse, tmp_path_factory) -> dict:
    """Return what was observed of FAULTY with each fault."""
    folder = tmp_path_factory.mktemp("faulty") / "workflow/scripts"
    folder.mkdir(parents=True)
    (folder / "faulty.py").write_text(FAULTY)
    common = {"rule": "train", "wildcards": {}, "resources": {}}
    found = {}
    for fault in FAULTS:
        job = common | {"params": {"fault": fault, "rows": 500}, "log": str(folder / f"{fault}.log")}
        found[fault] = rehearse(folder / "faulty.py", job)
    return found


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
    work = found["steps"][1]["busy_seconds"] - found["steps"][1]["operations"] * KERNEL_SECONDS
    assert products < work < 3 * products  # AdamW and what is elementwise


@pytest.mark.parametrize(
    ("fault", "message"),
    [("device", "same device"), ("dtype", "same dtype, found torch.float16 and torch.float32")],
)
def test_a_wrong_device_or_dtype_fails_as_on_a_gpu(faulty, fault, message):
    assert message in faulty[fault]["error"] and faulty[fault]["raised"] == "scripts/faulty.py:11"


def test_an_item_in_a_step_and_a_leak_are_seen(faulty):
    steps = faulty["item and leak"]["steps"]
    item = {"what": "item()", "lines": "scripts/faulty.py:13", "count": 1}
    assert all(step["waits"] == [item] for step in steps)
    first, second, third = (step["live_bytes"] for step in steps)
    assert third - second == second - first > 0
    kept = steps[2]["kept"]
    assert set(kept) == {"scripts/faulty.py:11"} and sum(kept.values()) == third - second


def test_a_product_in_float64_is_seen_with_its_line(faulty):
    assert {"what": "mm", "lines": "scripts/faulty.py:16", "count": 3} in faulty["float64"]["float64"]


def made(task: str, folder: Path, **settings):
    """Make a tiny run of a task."""
    if task == "glue":
        write_sentences(folder / "raw")
        kind, given = Run, downloaded(folder, TINY_MODEL, "glue/tiny", DATASET)
    elif task == "math":
        write_sums(folder / "raw")
        kind, given = MathRun, downloaded(folder, TINY_LLAMA, "math/sums", SUMS)
    elif task == "subject":
        kind, given = subjects.SubjectRun, downloaded(folder, subjects.MODEL, "subject/jester-ball", subjects.DATASET)
    else:
        kind, given = control_jobs.ControlRun, control_jobs.prepared(folder)
    return maker(kind, folder, given)(METHODS[task], epochs=1, **settings)


METHODS = {
    "glue": method("hra"),
    "math": method("hra", targets=["q_proj", "v_proj"]),
    "subject": subjects.unet_method() | {"lambda": 1e-4},
    "control": controlled.unet_method(),
}
SETTINGS = {
    "glue": {"batch_size": 24},
    "math": {"batch_size": 16},
    "subject": {"max_steps": 4},
    "control": {"batch_size": 2},
}
# Where a fault is planted in the training loops: in a copy of the module, behind this line.
LOOPS = {
    "hf_trainer": "loss, outputs = super().compute_loss(",
    "diffusion_trainer": "loss = self.loss(self.micro_batch(",
}
SQUARE = "torch.ones(64, 64, dtype=torch.float64, device=loss.device)"
KEEP = "self.__dict__.setdefault('kept', []).append"
WAITS = "every step waits for the GPU: {}1 "
PLANTED = {  # what is planted, and what the report says of its line
    "item": ("loss.item()", WAITS + "item() at {line}"),
    "if": ("if loss > 1e9: raise ValueError", WAITS + "item() at {line}"),
    "mask": ("loss[None][loss[None] > 0]", WAITS + "nonzero() at {line}"),
    "masked_select": ("loss[None].masked_select(loss[None] > 0)", WAITS + "masked_select() at {line}"),
    "nonzero": ("loss.nonzero()", WAITS + "nonzero() at {line}"),
    "copy": ("torch.ones(3).to(loss.device)", WAITS + "copy to the device at {line}"),
    "list": ("loss[None][[0, 0]]", WAITS + "copy to the device at {line}"),
    "index": ("loss[None][torch.zeros(1, dtype=torch.int64, device=loss.device)]", None),
    "kept losses": (f"loss = loss * 1; {KEEP}(loss)", "that are not freed: {}KB made at {line}"),
    "kept activations": (f"{KEEP}(loss.expand(500, 500) + 1)", "that are not freed: {}MB made at {line}"),
    "float64 product": (f"{SQUARE} @ {SQUARE}", "computes in float64{}mm at {line}"),
    "float64 loss": ("loss = loss.double()", "computes in float64{}_to_copy at {line}"),
    "device": ("loss = loss + torch.ones(3)", "same device{}(at {line}"),
}
# One of both trainers per fault; only one of all in `make test`: the faults of FAULTY are found in the same way.
CASES = [
    pytest.param(fault, ("subject", "math")[number % 2], marks=() if fault == "kept losses" else pytest.mark.full)
    for number, fault in enumerate(PLANTED)
]


def rehearsed_training(rehearse, folder: Path, task: str, planted: tuple[str, str] | None = None) -> tuple[dict, list]:
    """Rehearse a training of a task; return what was observed, and the findings."""
    job = on_gpu(made(task, folder, **SETTINGS[task]).train)
    found = rehearse(ROOT / f"workflow/scripts/{job['rule']}.py", job, planted)
    return found | {"record": job["output"]["record"]}, rehearsed.of_job(found, tasks.load(paper_config()))


def on_gpu(job: dict) -> dict:
    return job | {"resources": job["resources"] | {"gpu": 1}, "params": job["params"] | {"device": "cuda"}}


@pytest.mark.full
@pytest.mark.parametrize("task", METHODS)
def test_a_training_job_of_every_task(rehearse, tmp_path, task):
    found, findings = rehearsed_training(rehearse, tmp_path, task)
    assert found["error"] is None and len(found["steps"]) > 1 and found["parts"]["weights"] > 0
    waits = {wait["what"] for step in found["steps"][1:] for wait in step["waits"]}
    assert waits <= {"item()", "copy to the device", "copy to the host", "copy to a file"}
    assert json.loads(Path(found["record"]).read_text())["status"] == "ok"
    # So small a step is over when its kernels are queued.
    step = found["steps"][1]
    assert step["busy_seconds"] < step["seconds"] == pytest.approx(step["operations"] * LAUNCH_SECONDS, rel=0.1)
    assert [finding.ok for finding in findings] == [True], findings


def test_a_training_that_kills_itself_resumes_and_waits_for_no_copy(rehearse, tmp_path):
    job = on_gpu(made("math", tmp_path, batch_size=16, kill_at_step=1).train)
    killed, found = (rehearse(ROOT / "workflow/scripts/train_math.py", job) for _ in range(2))
    assert killed["status"] == launcher.KILLED and killed["error"].startswith("Interrupted: stopped at step 1 of 4")
    assert found["status"] == 0 and json.loads(Path(job["output"]["record"]).read_text())["resumed_from"] == [1]
    (finding,) = rehearsed.of_job(found, tasks.load(paper_config()))
    assert finding.ok and finding.text.endswith("; no step waits for the GPU"), finding


@pytest.mark.parametrize(("fault", "task"), CASES)
def test_a_planted_fault_is_found_with_its_line(rehearse, tmp_path, task, fault):
    planted, expected = PLANTED[fault]
    name = "hf_trainer" if task in ("glue", "math") else "diffusion_trainer"
    lines = (ROOT / f"workflow/hra_workflow/training/{name}.py").read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if LOOPS[name] in line]
    lines.insert(number, " " * (len(lines[number - 1]) - len(lines[number - 1].lstrip())) + planted)
    copy = tmp_path / f"hra_workflow/training/{name}.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("\n".join(lines))
    _, findings = rehearsed_training(rehearse, tmp_path, task, (f"hra_workflow.training.{name}", str(copy)))
    if expected is None:
        assert [finding.ok for finding in findings] == [True], findings
        return
    (finding,) = findings
    before, after = expected.format("|", line=f"training/{name}.py:{number + 1}").split("|")
    assert not finding.ok and before in finding.text and after in finding.text.partition(before)[2]


def test_the_page_and_the_hours_have_the_operations_of_a_step_of_the_paper_s_classifier(rehearse, tmp_path):
    """The model is narrow, on which the number of operations does not depend, and the host's time only on it."""
    run = "hra/r8"
    narrow = {"hidden_size": 48, "pooler_hidden_size": 48, "intermediate_size": 96, "vocab_size": 300}
    config = model_sizes.TRANSFORMERS["deberta-v3-base"] | narrow
    write_sentences(tmp_path / "raw")
    model = TINY_MODEL | {"model_type": config.pop("model_type"), "config": config}
    given = downloaded(tmp_path, model, "glue/tiny", DATASET)
    paper = paper_config()
    settings = tasks.load(paper)["glue"].hyperparameters("cola", run) | {"epochs": 1, "eval_steps": 4}
    job = on_gpu(maker(Run, tmp_path, given)(grid.method(paper, "glue", *run.split("/")), **settings).train)
    found = rehearse(ROOT / "workflow/scripts/train_glue.py", job)
    operations = min(step["operations"] for step in found["steps"])
    assert f"DeBERTaV3-base {operations:,} and " in cards.PAGE.read_text(), "run: python -m fakegpu.workflow.cards"
    (rate,) = [one for one in cards.rates() if (one["task"], one["run"], one["stage"]) == ("glue", run, "train")]
    assert rate["seconds_per_row"] * settings["batch_size"] == pytest.approx(operations * LAUNCH_SECONDS, rel=0.01)
