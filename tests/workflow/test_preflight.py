"""`hra-workflow smoke` before any job runs."""

import json
import os

import pytest

from support import ROOT

STARTED = """
from hra_workflow.core.job import script

@script(loads_model=True)
def main(job):
    raise RuntimeError("the command runs this job")

main()
"""
# It kills the training itself, as requested, and resumes it.
PROFILER = """
import json, sys
from pathlib import Path

option, script, job, out = sys.argv[1], *map(Path, sys.argv[2:])
job, killed = json.loads(job.read_text()), out.exists()
out.write_text(json.dumps({"rule": job["rule"], "option": option, "script": script.name, "resumed": killed}))
if job["rule"] == "train_glue" and job["params"]["hyperparameters"]["kill_at_step"] and not killed:
    sys.exit(75)
for path in map(Path, job["output"].values()):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch() if path.suffix else path.mkdir(exist_ok=True)
"""
REPORT = """
import json
from pathlib import Path

def finish(config, tasks):
    found = [json.loads(path.read_text()) for path in sorted(Path(config["pathvars"]["scratch"]).rglob("*.out.json"))]
    Path("report.json").write_text(json.dumps({"tasks": sorted(filter(None, tasks)), "found": found}))
"""
TINY = ROOT / "tests/data/tiny_grid.yaml"


def test_what_is_wrong_with_this_machine_is_listed_before_any_job(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    (project.folder / "grid.yaml").write_text(TINY.read_text().replace("save_seconds: 0", "save_seconds: 10"))
    command = ("-n", "-q", "--cores", "1", "--configfile", "grid.yaml", "--config", "preflight=login")
    output = project.snakemake(*command, "--", "preflight_glue")
    assert "table_glue: " in output and "  ok    source tiny-bert: generated here" in output
    assert "  TODO  source sentences: expected a folder at" in output
    assert "  TODO  GPUs: a job requests up to 1, this machine has 0. Choose" in output and "ok    sched" not in output
    assert output.splitlines()[-1].startswith(
        "  where:    this machine, 1 core; this machine has no GPU, a job requests 1: use"
    )
    report = json.loads((project.folder / "results/preflight.json").read_text())
    assert {"part", "check", "ok", "text"} == set(report["findings"][0])
    command = ("--cores", "1", "--configfile", "grid.yaml", "--config", "preflight=jobs", "--", "preflight_glue")
    refused = project.snakemake(*command, ok=False)
    (line,) = (line for line in refused.splitlines() if "Nothing was started" in line)
    assert line == (
        "Error: Nothing was started. results/preflight.json: expected no TODO among the checks of the last dry run, "
        "found 2: source sentences, GPUs. Do what they name, then run `hra-workflow smoke`, which checks again"
    )
    assert "Traceback" not in refused and refused.endswith(f"{line}\n")


@pytest.mark.slow
def test_another_command_runs_the_probes_and_a_function_reports_them(fresh, tmp_path, monkeypatch):
    project, own = fresh.copy(tmp_path / "project"), tmp_path / "own"
    project.stand_in()
    project.link_library()
    for rule in ("augment", "train_glue"):
        (project.folder / f"workflow/scripts/{rule}.py").write_text(STARTED)
    own.mkdir()
    (own / "own_report.py").write_text(REPORT)
    (own / "profiler.py").write_text(PROFILER)
    monkeypatch.setenv("PYTHONPATH", f"{own}:{os.environ.get('PYTHONPATH', '')}")
    one_run = "tasks: {glue: {grid: [{runs: [hra/r8], datasets: [cola], seeds: [0]}], resources: {gpu: 1}}}"
    (project.folder / "one.yaml").write_text(one_run)
    probes = f"folder: tried, kill_at: 1, report: 'own_report:finish', command: 'python {own}/profiler.py any'"
    command = ("--cores", "1", "-q", "all", "--configfile", "small.yaml", "one.yaml", "--config", "preflight=jobs")
    project.snakemake(*command, f"probes={{{probes}}}", "--", "preflight_glue", program=("-m", "snakemake"))
    report = json.loads((project.folder / "report.json").read_text())
    assert report["tasks"] == ["glue"] and {one["option"] for one in report["found"]} == {"any"}
    assert [(one["rule"], one["script"], one["resumed"]) for one in report["found"]] == [
        ("augment", "augment.py", False),
        ("train_glue", "train_glue.py", True),
    ]
