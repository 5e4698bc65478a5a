"""`hra-workflow status`, plan.py and the end of a dry run: jobs of rules, states of Snakemake, hours of records."""

import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from hra_workflow.commands.main import main
from hra_workflow.commands.status import STATES
from hra_workflow.core import files, process_identity
from hra_workflow.cost import planned_jobs
from project import environment
from support import ROOT

TABLE = "results/table_glue.csv"


def touch(path: str, when: float) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a"):
        os.utime(path, (when, when))


PLANNED = planned_jobs.TABLES / "results/table_glue.json"


@pytest.mark.parametrize(
    ("files", "running", "state"),
    [
        ({}, True, "waiting"),
        ({"results/train.json": -60}, True, "waiting"),  # of an earlier run
        ({"logs/train.log": -60}, True, "waiting"),
        ({"logs/train.log": 10}, True, "running"),
        ({"logs/train.log": 10}, False, "stopped"),
        ({"logs/train.log": 10, "results/train.json": 20}, False, "stopped"),  # without its weights
        ({"logs/train.log": 10, "results/train.json": 20, "weights": 20}, True, "done"),
    ],
)
def test_the_state_of_a_job_follows_from_its_files(here, files, running, state):
    now = time.time()
    job = planned_jobs.Job("train_glue", {}, ["results/train.json", "weights"], "logs/train.log")
    planned_jobs.save("results", "table_glue", [job])
    for path, seconds in files.items():
        touch(f"./{path}", now + seconds)
    assert planned_jobs.states(PLANNED, running) == [(job, state)]


@pytest.mark.parametrize(("error", "state"), [("ValueError: no rows", "failed"), ("Interrupted: signal 15", "stopped")])
def test_a_job_that_ends_with_an_error_has_failed_unless_it_was_interrupted(here, error, state):
    job = planned_jobs.Job("train_glue", {}, ["results/train.json"], "logs/train.log")
    planned_jobs.save("results", "table_glue", [job])
    touch(job.log, time.time() + 10)
    code = "from hra_workflow.core import logs\ndef main(job): raise {}({!r})\n".format(*error.split(": "))
    code += f"job = {{'rule': 'train_glue', 'params': {{}}, 'wildcards': {{}}, 'log': {job.log!r}}}\n"
    code += "class Interrupted(Exception): pass\nlogs.run_guarded(main, job, logs.redirect(job))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert planned_jobs.states(PLANNED, running=False) == [(job, state)]


@pytest.mark.parametrize(
    ("facts", "running", "sentence"),
    [
        (None, False, "Snakemake is not running."),
        ({"start": "1"}, False, "Snakemake was killed; "),
        ({"host": "elsewhere"}, True, "Snakemake is running on elsewhere, or was killed there"),
    ],
)
def test_whether_snakemake_is_running(here, facts, running, sentence):
    if facts:
        files.write_json(PLANNED.with_name(planned_jobs.PROCESS), process_identity.this_process() | facts)
    found, text = planned_jobs.of_snakemake("results")
    assert (found, text.startswith(sentence)) == (running, True)


def test_a_job_that_is_not_needed_and_a_merged_shard_are_done(here):
    job = planned_jobs.Job("train_glue", {}, ["results/train.json"], "logs/train.log", needed=False)
    shard = planned_jobs.Job("generate_math", {}, ["out/shard0-of-4"], "", merged=["out/whole"], needed=False)
    planned_jobs.save("results", "table_glue", [job, shard])
    touch(job.outputs[0], time.time() - 60)
    assert planned_jobs.states(PLANNED, running=True) == [(job, "done"), (shard, "waiting")]
    touch("out/whole", time.time())
    assert planned_jobs.states(PLANNED, running=True) == [(job, "done"), (shard, "done")]


WAITS = """
import time
from collections import Counter
from pathlib import Path
log = Path(snakemake.log[0])
log.write_text("first line\\n")
while not Path("go").exists():
    time.sleep(0.1)
if snakemake.wildcards.method == "lora":
    log.write_text("first line\\nfailed: an error\\n")
    raise SystemExit(1)
for path in snakemake.output:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()
"""


@pytest.mark.slow
def test_status_beside_a_running_snakemake(done, monkeypatch, capsys):
    (done.folder / "workflow/scripts/evaluate_glue.py").write_text(WAITS)
    for path in done.folder.glob("results/glue/cola/*/r8/seed0/validation/metrics.json"):
        path.unlink()
    for path in done.folder.glob("logs/evaluate/glue/cola/*/r8/seed0/validation.log"):
        path.unlink()
    monkeypatch.chdir(done.folder)

    def counts() -> dict[str, int]:
        assert main(["status", "--table", "glue"]) == 0
        output = capsys.readouterr().out
        lines = [line for line in output.splitlines() if line.startswith("evaluate_glue ")]
        heads = next(line for line in output.splitlines() if " done " in line and " waiting " in line)
        places = {head: heads.index(head) + len(head) for head in STATES}
        counts.output = output
        found = Counter()
        for line in lines:
            found += Counter(
                {head: int(line[:end].split()[-1]) for head, end in places.items() if line[end - 1].isdigit()}
            )
        return dict(found)

    assert counts() == {"done": 10, "waiting": 2}
    assert "Snakemake is not running." in counts.output
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "small.yaml"]
    command += ["--", TABLE]
    with (
        open("output", "w") as output,
        subprocess.Popen(command, env=environment(done.folder), stdout=output, stderr=output),
    ):
        deadline = time.time() + 300
        while (now := counts()).get("running") != 1 and time.time() < deadline:
            time.sleep(0.2)
        (done.folder / "go").touch()
        assert now == {"done": 10, "running": 1, "waiting": 1}
        assert "Snakemake is running." in counts.output
    assert "hours" not in (done.folder / "output").read_text()
    assert counts() == {"done": 11, "failed": 1}
    assert re.search(
        r"failed: evaluate_glue glue/cola/lora/r8/0/validation +logs/evaluate/glue/cola/lora/r8/seed0/validation.log\n"
        " +first line\n +failed: an error\n",
        counts.output,
    )


@pytest.mark.slow
def test_a_run_ends_with_its_tables(done):
    """Also one with nothing to do, but no dry run, and no run in which a table is missing."""
    command = ("--cores", "1", "--configfile", "small.yaml")
    printed = done.snakemake(*command, "--", "table_glue", "table_retention")
    assert printed.endswith("tables: results/table_glue.csv results/table_retention.csv\n")
    assert "Nothing to be done" in printed
    assert "tables:" not in done.snakemake("-n", *command, "--", "table_glue")
    (done.folder / TABLE).unlink()
    (done.folder / "workflow/scripts/table.py").write_text("raise SystemExit(1)")
    assert "tables:" not in done.snakemake(*command, "--", "table_glue", ok=False)
    done.stand_in()
    printed = done.snakemake(*command, "-q", "rules", "--", "table_glue")
    assert printed.endswith("tables: results/table_glue.csv\n")


def test_a_project_s_status_is_of_its_own_runs(here, monkeypatch, capsys):
    """Those of the demo, in the same folder, are not counted; without a config, both are shown by their folders."""
    files.write_json("mine.yaml", {"pathvars": {"results": "mine/results"}})

    def printed(*arguments: str) -> str:
        assert main(["status", *arguments]) == 0
        return capsys.readouterr().out

    touch("demo/results/train.json", time.time())
    planned_jobs.save(
        "demo/results", "table_glue", [planned_jobs.Job("train_glue", {}, ["demo/results/train.json"], "")]
    )
    assert main(["status", "mine.yaml"]) == 2
    assert "expected a run with results in mine/results that requested a table, found none" in capsys.readouterr().err
    planned_jobs.save(
        "mine/results", "table_glue", [planned_jobs.Job("train_glue", {}, ["mine/results/train.json"], "")]
    )
    own = printed("mine.yaml", "--table", "glue")
    assert "mine/results/table_glue" in own and "demo" not in own
    both = printed()
    assert "demo/results/table_glue" in both and "mine/results/table_glue" in both


@pytest.mark.parametrize(
    ("scripts", "refused"),
    [
        ("collect_runs, compare, table, table_retention, table_compute, figures", ""),
        ("gather_outputs, evaluate_math", " pandas numpy"),
    ],
)
def test_scripts_of_tables_and_merges_start_without_what_they_do_not_need(scripts, refused):
    names = f"torch transformers peft datasets{refused}".split()
    code = f"import sys, {scripts}; print(sorted({{*{names}}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow/scripts", capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
