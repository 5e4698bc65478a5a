"""`python -m fakegpu` on scripts that know nothing of it: that of the README, and one with a job."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fakegpu import run

README = Path(__file__).parents[1] / "README.md"
JOB = """
import torch

clock = None

def step(layer, optimizer):
    layer(torch.ones(8, 1000, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()

def main(job):
    layer = torch.nn.Linear(1000, 1000, device="cuda")
    optimizer = torch.optim.SGD(layer.parameters())
    for _ in range(job["steps"]):
        step(layer, optimizer)
    assert clock() > 0
    if job.pop("kill", False):
        raise InterruptedError("as planned")
"""
PLAIN = """
import sys
from pathlib import Path

import torch

Path(__file__).with_name("arguments").write_text(f"{__name__} {sys.argv[1:]}")
torch.ones(3, device="cuda") + torch.ones(3)
"""


def fakegpu(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fakegpu", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_output_of_the_readme_is_that_of_its_script(tmp_path):
    text = README.read_text()
    script, shown = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("python", "text"))
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "train.py").write_text(script)
    done = fakegpu("train.py", folder=folder)
    printed = done.stdout[done.stdout.find("NVIDIA") :]
    assert not done.returncode, done.stderr

    def form(text: str) -> str:
        return re.sub(r"(?<=\.py:)\d+|\d+\.\d+|\d+(?= GB)", "N", text)

    assert form(printed) == form(shown)
    of_weights = [float(re.search(r"weights ([\d.]+)", text)[1]) for text in (printed, shown)]
    assert of_weights == [0.498, 0.498]  # 124,439,808 parameters in float32


@pytest.mark.slow
def test_a_job_tells_what_fakegpu_cannot_know_and_is_resumed(tmp_path):
    (tmp_path / "script.py").write_text(JOB)
    told = {"killed": "InterruptedError: as planned", "rows_per_step": 8, "clock": "script:clock"}
    statuses, found = [], []
    for kill, steps in (True, 3), (False, 2):
        (tmp_path / "job.json").write_text(json.dumps({"steps": steps, "kill": kill, run.KEY: told}))
        statuses.append(fakegpu("script.py", "job.json", "out.json", "--card", "l40s", folder=tmp_path).returncode)
        found.append(json.loads((tmp_path / "out.json").read_text()))
    assert statuses == [run.KILLED, 0]
    assert [(one["killed"], one["resumed"], one["error"]) for one in found] == [
        (True, False, "InterruptedError: as planned"),
        (False, True, None),
    ]
    first, second = found
    assert first["card"] == "NVIDIA L40S" and first["raised"].endswith("script.py:18")
    assert second["peak_bytes"] == first["peak_bytes"] >= 2 * 4 * (1000 * 1000 + 1000)  # weights and gradients
    assert 8 * first["seconds_per_row"] == pytest.approx(first["seconds_per_step"])


@pytest.mark.slow
def test_a_plain_script_gets_its_arguments_and_its_error_is_reported_with_its_line(tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    done = fakegpu("plain.py", "--", "--lr", "3", folder=tmp_path)
    assert (tmp_path / "arguments").read_text() == "__main__ ['--lr', '3']"
    assert done.returncode == 1 and "same device" in done.stdout and "plain.py:8)" in done.stdout
    assert "Traceback" in done.stderr


def test_the_core_imports_neither_the_workflow_nor_the_library():
    folder = Path(run.__file__).parent
    for path in folder.glob("*.py"):
        assert not re.search(r"^\s*(from|import) (hra|fakegpu\.workflow)", path.read_text(), re.MULTILINE), path
