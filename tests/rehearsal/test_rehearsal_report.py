"""What `make rehearse` says of a job that has been rehearsed, and of one that has not."""

import copy
import json
from pathlib import Path

import pytest

from hra_workflow import tasks
from hra_workflow.core.errors import JobError
from hra_workflow.cost import plan
from hra_workflow.preflight import probe, rehearsed
from support import paper_config

GB = 10**9
STEP = {"live_bytes": GB, "peak_bytes": 20 * GB, "waits": [], "seconds": 0.64, "busy_seconds": 0.32}
JOB = {
    "rule": "train_glue",
    "wildcards": {"task": "glue", "method": "hra", "variant": "r8"},
    "error": None,
    "rate": None,
    "card": "NVIDIA H100",
    "card_bytes": 80 * GB,
    "peak_bytes": 20 * GB,
    "rows_per_step": 64,
    "rows_per_device": 32,
    "parts": {"weights": 4 * GB, "activations": 16 * GB},
    "steps": [STEP] * 3,
}
WAIT = {"what": "item()", "lines": "scripts/train_glue.py:9", "count": 2}
GROWS = [STEP | {"live_bytes": step * GB} for step in range(3)]
LARGE = {"peak_bytes": 164 * GB, "parts": {"weights": 4 * GB, "activations": 160 * GB}}


@pytest.mark.parametrize(
    ("changes", "ok", "text"),
    [
        ({}, True, "20 of 80 GB (weights 4, activations 16); no step waits for the GPU"),
        (
            {"steps": [STEP | {"waits": [WAIT]}] * 3},
            True,
            "waits for the GPU: 2 item() at scripts/train_glue.py:9",
        ),
        ({"steps": GROWS}, False, "a step leaves 1,000 MB that are not freed"),
        ({"peak_bytes": 30 * GB}, False, "set `runs_per_gpu` to 2 or less"),
        (LARGE, False, "15 of 32 rows fit at once: raise `gradient_accumulation`"),
        ({"error": "RuntimeError: two devices"}, False, "RuntimeError: two devices"),
    ],
)
def test_a_rehearsed_job_is_one_line(changes, ok, text):
    finding = rehearsed.of_job(JOB | changes, tasks.load(paper_config()))
    assert finding.check == "train_glue hra/r8" and finding.ok == ok and text in finding.text


def test_the_report_lists_what_did_not_run_and_deletes_the_probes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = probe.config_of(copy.deepcopy(paper_config()) | {"preflight": probe.REHEARSAL})
    scratch = Path(config["pathvars"]["scratch"], "a")
    scratch.mkdir(parents=True)
    (scratch / "train_glue.rehearsal.json").write_text(json.dumps(JOB))
    with pytest.raises(JobError, match=r"make rehearse: .* say TODO"):
        rehearsed.finish(config, {"glue"})
    printed = capsys.readouterr().out
    assert "  ok    train_glue hra/r8: 20 of 80 GB" in printed
    assert "  TODO  glue lora/r8, training: did not run" in printed
    assert json.loads(Path("results/rehearsal.json").read_text())["jobs"] == [JOB] and not scratch.exists()
    for wanted, kept in ({"math"}, [JOB]), ({"glue"}, []):  # of another table, and of the same one
        with pytest.raises(JobError):
            rehearsed.finish(config, wanted)
        assert json.loads(Path("results/rehearsal.json").read_text())["jobs"] == kept
    Path("results/rehearsal.json").write_text(json.dumps({"jobs": [JOB]}))
    (rate,) = json.loads(Path("results/preflight.json").read_text())["rates"]
    assert rate | {"seconds_per_row": 0.01, "busy_per_row": 0.005} == rate
    assert (rate["task"], rate["stage"], rate["kind"]) == ("glue", "train", "hra")
    assert plan.memory(paper_config(), ["table_glue"]) == "train_glue 20 (hra/r8) of 80 GB, as make rehearse has seen"
    assert plan.memory(paper_config(), ["table_math"]).startswith("unknown; `make rehearse`")
    assert "make rehearse: glue lora/r8, training: did not run" in "\n".join(
        plan.warnings(paper_config(), ["table_glue"], [])
    )
