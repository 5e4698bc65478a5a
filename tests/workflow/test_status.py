"""`hra-workflow status`, plan.py and the end of a dry run: jobs of rules, states of Snakemake, hours of records."""

import dataclasses
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.commands.main import main
from hra_workflow.core import files, process_identity
from hra_workflow.cost import planned_jobs, progress, run_history
from hra_workflow.snakemake_bridge import job_events
from project import environment
from support import ROOT

TABLE = "results/table_glue.csv"


def touch(path: str, when: float) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a"):
        os.utime(path, (when, when))


PLANNED = planned_jobs.TABLES / "results/table_glue.json"
HISTORY = PLANNED.with_name(run_history.NAME)
CONFIG = {"pathvars": {"results": "results"}}


def test_states(here):
    output = "results/train.json"
    job = planned_jobs.Job("train_glue", {}, [output, "weights"], "logs/train.log", "scratch/train.error.json")
    now = time.time()
    touch(output, now - 60)  # of an earlier run

    def state() -> str:
        return progress.states(PLANNED, run_history.read(HISTORY))[0][1]

    run_history.begin(HISTORY, "1")
    run_history.append(HISTORY, "1", run_history.FAILED, job=job.name)
    time.sleep(0.02)
    planned_jobs.save("results", "table_glue", [dataclasses.replace(job, outputs=[output], needed=False)])
    assert state() == "done"
    planned_jobs.save("results", "table_glue", [job])
    assert state() == "waiting"
    run_history.append(HISTORY, "1", run_history.STARTED, job=job.name)
    touch(job.log, now - 10)  # of an earlier attempt
    assert state() == "queued"
    touch(job.log, now + 10)
    os.remove(output)
    assert state() == "running"
    run_history.append(HISTORY, "1", run_history.FAILED, job=job.name)
    assert state() == "failed"
    run_history.append(HISTORY, "1", run_history.STARTED, job=job.name)  # a retry
    touch(job.log, now + 20)
    with HISTORY.open("a") as stream:
        stream.write('{"run": "1", "ev\n')  # of a full disk
    touch(output, now)
    assert state() == "running"
    run_history.append(HISTORY, "1", run_history.ENDED)
    assert state() == "stopped"
    touch("./weights", now)
    assert state() == "done"  # with `--quiet progress`, which reports no end
    run_history.append(HISTORY, "1", run_history.FINISHED, job=job.name)
    touch(job.log, now - 10)
    assert state() == "done"
    os.remove(output)
    assert state() == "waiting"


def process(started: float = 0.0, **facts) -> None:
    """Write a history with one run, of this process with other `facts`, that has not ended."""
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    facts = process_identity.this_process() | facts
    line = {"run": facts["host"], "event": run_history.BEGUN, "time": started, "process": facts}
    HISTORY.write_text(json.dumps(line) + "\n")


def test_whether_snakemake_is_running(here):
    def described() -> str:
        return progress.of_runs(run_history.read(HISTORY))

    assert described() == "Snakemake is not running."
    run_history.begin(HISTORY, "1")
    assert described() == "Snakemake is running."
    run_history.append(HISTORY, "1", run_history.ENDED)
    assert described() == "Snakemake is not running."
    process(start="1")
    assert described().startswith("Snakemake was killed; ")
    process(host="elsewhere")
    assert described() == "Snakemake is running on elsewhere, or was killed there (then: snakemake --unlock)."
    run_history.begin(HISTORY, "2")  # the other one was killed
    assert list(run_history.read(HISTORY).running()) == ["2"]


def test_a_shard_is_done_when_it_has_gone_into_the_whole(here):
    shard = planned_jobs.Job("generate_math", {}, ["out/shard0-of-4"], "", merged=["out/whole"], needed=False)
    planned_jobs.save("results", "table_glue", [shard])
    assert progress.states(PLANNED, run_history.History()) == [(shard, "waiting")]
    touch("out/whole", time.time())
    assert progress.states(PLANNED, run_history.History()) == [(shard, "done")]


def events(*reported: tuple[int, str, LogEvent]) -> dict[str, str]:
    """Return the recorded events of jobs that Snakemake reports: number, name and event."""
    recorder = job_events.Recorder(HISTORY)
    for number, name, event in reported:
        rule, _, seed = name.partition(" ")
        facts = {"event": event, "jobid": number, "job_id": number, "rule_name": rule, "wildcards": {"seed": seed}}
        recorder.handle(logging.makeLogRecord(facts))
        if isinstance(event, signal.Signals):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), event)
                time.sleep(1)
    recorder.close()
    return {name: event["event"] for name, event in run_history.read(HISTORY).jobs.items()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # SIGTERM: of `timeout`, also sent to the jobs
def test_a_failed_job_is_recorded_and_one_that_a_signal_ends_is_not(here, number):
    first, second = (1, "train_glue 0"), (2, "train_glue 1")
    started, ended = [(*one, LogEvent.JOB_INFO) for one in (first, second)], (0, "", number)
    previous = signal.signal(number, signal.default_int_handler)  # a shell has background jobs ignore SIGINT
    try:
        done, error = (*first, LogEvent.JOB_FINISHED), (*second, LogEvent.JOB_ERROR)
        assert events(*started, done, error) == {"train_glue 0": "finished", "train_glue 1": "failed"}
        assert "--config incomplete=True" in job_events.advice(CONFIG)
        assert events(*started, ended, error) == {"train_glue 0": "started", "train_glue 1": "started"}
    finally:
        signal.signal(number, previous)
    assert "continue (training resumes" in job_events.advice(CONFIG)
    assert "incomplete" not in job_events.advice(CONFIG)
    events((1, "download_dataset mine", LogEvent.JOB_INFO), (1, "", LogEvent.JOB_ERROR))
    assert job_events.advice(CONFIG).endswith("Correct what the errors above name, then rerun the same command.")


WAITS = """
import time
from pathlib import Path
Path(snakemake.log[0]).write_text("first line\\nlast line\\n")
while not Path("go").exists():
    time.sleep(0.1)
if snakemake.wildcards.method == "lora":
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
        lines = [line for line in output.splitlines() if line.startswith(" evaluate_glue")]
        heads = next(line for line in output.splitlines() if " done " in line and " waiting " in line)
        places = {head: heads.index(head) + len(head) for head in progress.STATES}
        counts.output = output
        found = Counter()
        for line in lines:
            found += Counter(
                {head: int(line[:end].split()[-1]) for head, end in places.items() if line[end - 1].isdigit()}
            )
        return dict(found)

    assert counts() == {"done": 10, "waiting": 2}
    assert "Snakemake is not running." in counts.output
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "small.yaml", "--logger", "rich"]
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
    written = (done.folder / "output").read_text()  # where there is no progress bar, a line per finished job
    assert re.findall(r"^[\d:]{8}  1 of \d+ jobs done: evaluate_glue glue/cola/.*/validation$", written, re.MULTILINE)
    assert "hours" not in written
    assert counts() == {"done": 11, "failed": 1}
    assert re.search(
        r"failed: evaluate_glue glue/cola/lora/r8/0/validation +logs/evaluate/glue/cola/lora/r8/seed0/validation.log\n"
        " +first line\n +last line\n",
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
        (
            "collect_runs, compare, table, table_retention, table_compute, figures",
            "torch transformers peft datasets",
        ),
        ("gather_outputs, evaluate_math", "torch transformers peft datasets pandas numpy"),
    ],
)
def test_scripts_of_tables_and_merges_start_without_what_they_do_not_need(scripts, refused):
    code = f"import sys, {scripts}; print(sorted(set({refused.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow/scripts", capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
