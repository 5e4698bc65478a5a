"""Custom probes: another command runs the jobs of `hra-workflow smoke`."""

import json
import os

import pytest

STARTED = """
from hra_workflow.core.job import script

@script(loads_model=True)
def main(job):
    raise RuntimeError

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
    command = ("--cores", "1", "-q", "all", "--configfile", "small.yaml", "one.yaml", "--config", "preflight=True")
    project.snakemake(*command, f"probes={{{probes}}}", "--", "preflight_glue", program=("-m", "snakemake"))
    report = json.loads((project.folder / "report.json").read_text())
    assert report["tasks"] == ["glue"] and {one["option"] for one in report["found"]} == {"any"}
    assert [(one["rule"], one["script"], one["resumed"]) for one in report["found"]] == [
        ("augment", "augment.py", False),
        ("train_glue", "train_glue.py", True),
    ]
