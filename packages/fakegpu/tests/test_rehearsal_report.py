"""`hra-workflow rehearse`: its command, and its lines on jobs that were rehearsed or not."""

import copy
import json
from pathlib import Path

import pytest

import results_contract
from fakegpu import cuda, run
from fakegpu.workflow import commands, probes
from fakegpu.workflow import findings as rehearsed
from hra_workflow import tasks
from hra_workflow.commands.main import DONE, WRONG, main
from hra_workflow.commands.project import Project
from hra_workflow.core.errors import JobError
from hra_workflow.preflight import probe
from support import paper_config, probed_with

GB, BY = 10**9, {"by": "hra-workflow rehearse"}
STEP = {"live_bytes": GB, "peak_bytes": 20 * GB, "waits": [], "kept": {}, "seconds": 0.64, "busy_seconds": 0.32}
JOB = {
    "rule": "train_glue", "wildcards": {"task": "glue", "method": "hra", "variant": "r8"}, "error": None, "raised": "",
    "gpu": 1, "processes": 1, "float64": [], "rate": None, "card": "NVIDIA H100", "card_bytes": 80 * GB,
    "peak_bytes": 20 * GB, "rows_per_step": 64, "rows_per_device": 32, "period": 1, "seconds_per_step": 0.64,
    "busy_per_step": 0.32, "parts": {"weights": 4 * GB, "activations": 16 * GB}, "steps": [STEP] * 3,
}  # fmt: skip
WAIT = {"what": "item()", "lines": "scripts/train_glue.py:9", "count": 2}
LOSS = {"what": "item()", "lines": "training/diffusion_trainer.py:9 < training/diffusion_trainer.py:1", "count": 2}
LOGGED = {"what": "item()", "lines": "transformers/trainer.py:9 < training/attempts.py:7", "count": 1}
RANKS = {"what": "item()", "lines": "adalora/layer.py:481 < training/adalora.py:30", "count": 1}
GROWS = [STEP | {"live_bytes": step * GB} for step in range(3)]
LARGE = {"peak_bytes": 164 * GB, "parts": {"weights": 4 * GB, "activations": 160 * GB}}
KEPT = {"kept": {"a.py:1": 512, "b.py:2": 8 * 10**6, "c.py:3": 10**6, "d.py:4": 512, "": 10**7}}
DOUBLE = [{"what": "mm", "lines": "scripts/train_glue.py:5", "count": 4}]


def waiting(*waits: dict, task: str = "glue", method: str = "hra") -> dict:
    """Return a job whose steps wait."""
    wildcards = {"task": task, "method": method, "variant": "r8"}
    return {"wildcards": wildcards, "rule": f"train_{task}", "steps": [STEP, *[STEP | {"waits": [*waits]}] * 2]}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "20 of 80 GB (weights 4, activations 16); no step waits for the GPU"),
        (waiting(LOGGED), "no step waits for the GPU"),
        ({"steps": [STEP, STEP | {"waits": [WAIT]}, STEP]}, "no step waits for the GPU"),  # at a checkpoint
        (waiting(RANKS, method="adalora"), "a step waits for the GPU: 1 item() at adalora/layer.py:481"),
        ({"rule": "generate_math", "steps": []}, "no training steps"),
    ],
)
def test_a_rehearsed_job_is_one_line(changes, text):
    (finding,) = rehearsed.of_job(JOB | changes, tasks.load(paper_config()))
    job = JOB | changes
    assert finding.check == f"{job['rule']} {job['wildcards']['method']}/r8" and finding.ok and text in finding.text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (waiting(WAIT), "every step waits for the GPU: 2 item() at scripts/train_glue.py:9. Leave"),
        (waiting(WAIT | {"what": "copy to the device"}), "at scripts/train_glue.py:9. Copy with `non_blocking=True`"),
        (waiting(LOSS | {"count": 3}, task="control"), "3 item() at training/diffusion_trainer.py:9 < training/"),
        ({"steps": GROWS}, "a step leaves 1,000 MB that are not freed"),
        ({"steps": [STEP, STEP, STEP | KEPT]}, "10 MB made at a line of a library, 8 MB made at b.py:2, 1 MB"),
        ({"float64": DOUBLE}, "computes in float64, at a fraction of the speed of float32: 4 mm at scripts/train"),
        ({"peak_bytes": 30 * GB}, "set `runs_per_gpu` to 2 or less"),
        (LARGE, "15 of 32 rows fit at once: raise `gradient_accumulation`"),
        ({"error": "RuntimeError: two devices", "raised": "a.py:7"}, "RuntimeError: two devices (at a.py:7)"),
    ],
)
def test_a_fault_is_a_line_with_what_to_do(changes, text):
    (finding,) = rehearsed.of_job(JOB | changes, tasks.load(paper_config()))
    assert not finding.ok and text in finding.text


def test_the_rate_of_steps_on_sampled_answers_is_that_of_a_generation():
    steps = [STEP | {"seconds": seconds} for seconds in (64.0, 0.64, 64.0, 0.64)]
    for sampled in (4, 2):  # steps; a resumed attempt has only those of a generation
        rate = run.rate(steps[:sampled], run.Settings(period=2, rows_per_step=64))
        assert rate["seconds_per_row"] == pytest.approx((64 + 0.64) / 2 / 64) and rate["busy_per_row"] == 0.005


def test_the_report_lists_what_did_not_run_and_deletes_the_probes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paper = copy.deepcopy(paper_config()) | {"preflight": True}
    config = probe.config_of(paper | {"probes": paper["probes"] | probes.PROBES | {"command": "any"}})
    scratch = Path(config["pathvars"]["scratch"], "a")
    scratch.mkdir(parents=True)
    (scratch / "train_glue.out.json").write_text(json.dumps(JOB))
    with pytest.raises(JobError, match=r"hra-workflow rehearse: .* say TODO"):
        rehearsed.finish(config, {"glue"})
    printed, of_glue = capsys.readouterr().out, probed_with(tasks.load(paper_config())["glue"], "hra/r8")
    assert "  ok    train_glue hra/r8: 20 of 80 GB" in printed
    assert "  TODO  glue lora/r8, training: did not run" in printed
    rehearsed_job = JOB | of_glue
    assert json.loads(Path("results/rehearsal.json").read_text())["jobs"] == [rehearsed_job] and not scratch.exists()
    for wanted, kept in ({"math"}, [rehearsed_job]), ({"glue"}, []):  # of another table, and of the same one
        with pytest.raises(JobError):
            rehearsed.finish(config, wanted)
        assert json.loads(Path("results/rehearsal.json").read_text())["jobs"] == kept
    preflight = json.loads(Path("results/preflight.json").read_text())
    assert not [*results_contract.refused("preflight", [preflight])]
    (rate,) = preflight["rates"]
    assert rate | {"seconds_per_row": 0.01, "busy_per_row": 0.005} | of_glue == rate
    assert (rate["task"], rate["stage"], rate["kind"]) == ("glue", "train", "hra")


def test_the_command_probes_the_jobs_of_a_table_on_a_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(Project, "start", lambda self, *targets, **how: asked.append((self, targets, how)) or DONE)
    Path("mine.yaml").touch()
    assert main(["rehearse", "mine.yaml", "--table", "glue", "--card", "a100", "--cores", "3"]) == DONE
    (((project, targets, how)),) = asked
    assert (project.configs, project.cores, targets) == (("mine.yaml",), 3, ("preflight_glue",))
    assert how.pop("options") == ("--keep-going",) and how["preflight"] is True
    assert how["probes"] | probes.PROBES == how["probes"] and how["probes"]["command"].endswith("job --card a100")
    assert main(["rehearse", "--card", "h300"]) == WRONG and len(asked) == 1
    assert (*cuda.CARDS,) == commands.CARDS
