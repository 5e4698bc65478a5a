"""A rehearsal of the training on a fake GPU."""

import json
import subprocess
import sys

import pytest

from sums import math_method
from support import ROOT

REHEARSAL = "fakegpu.workflow.job"  # `hra-workflow rehearse` runs it


@pytest.mark.full  # the rate of such steps: test_rehearsal_report.py
def test_it_samples_answers_of_the_largest_length(make_rewarded_run):
    half = {"precision": "bf16", "base_precision": "bf16"}
    run = make_rewarded_run(math_method("hra"), **half, kill_at_step=0, period=2)
    job = run.train
    job["resources"]["gpu"], job["params"]["device"] = 1, "cuda"
    file, result = run.folder / "job.json", run.folder / "result.json"
    file.write_text(json.dumps(job))
    script = ROOT / "workflow/scripts/train_math.py"
    subprocess.run([sys.executable, "-m", REHEARSAL, script, file, result, "--card", "h100"], cwd=ROOT)
    found = json.loads(result.read_text())
    assert found["error"] is None and len(found["steps"]) == 4 and found["period"] == 2
    first, second, *_ = (step["seconds"] for step in found["steps"])
    assert first > 2 * second  # with the answers
