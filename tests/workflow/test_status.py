"""status.py, plan.py and the end of a dry run: jobs from the rules, states from Snakemake, hours from records."""

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

import status
from hra_workflow import tasks
from hra_workflow.core import files, process_identity
from hra_workflow.cost import gpu_hours, planned_jobs, progress, run_history
from hra_workflow.snake import job_events
from support import ROOT

TABLE = "results/table_glue.csv"


def touch(path: str, when: float) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a"):
        os.utime(path, (when, when))


PLANNED = planned_jobs.TABLES / "results/table_glue.json"
HISTORY = PLANNED.with_name(run_history.NAME)


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


def test_whether_snakemake_is_running(here):
    def process(**facts) -> None:
        HISTORY.parent.mkdir(parents=True, exist_ok=True)
        line = {"run": facts["host"], "event": run_history.BEGUN, "time": 0.0, "process": facts}
        HISTORY.write_text(json.dumps(line) + "\n")

    def described() -> str:
        return progress.of_runs(run_history.read(HISTORY))

    assert described() == "Snakemake is not running."
    run_history.begin(HISTORY, "1")
    assert described() == "Snakemake is running."
    run_history.append(HISTORY, "1", run_history.ENDED)
    assert described() == "Snakemake is not running."
    this = process_identity.this_process()
    process(**this | {"start": "1"})
    assert described().startswith("Snakemake was killed; ")
    process(**this | {"host": "elsewhere"})
    assert described() == "Snakemake is running on elsewhere, or was killed there (then: snakemake --unlock)."
    run_history.begin(HISTORY, "2")  # the other one was killed
    assert list(run_history.read(HISTORY).running()) == ["2"]


def test_the_pace_of_the_last_hour(here):
    jobs = [planned_jobs.Job("train_glue", {"seed": str(seed)}, [f"out/{seed}"], "log") for seed in range(6)]
    now = time.time()
    for seed, minutes in ((0, 90), (1, 40), (2, 20)):
        touch(f"out/{seed}", now - 60 * minutes)
    starts = {jobs[3].name: now - 1800, jobs[4].name: now - 5400}
    history = run_history.History({name: {"time": start} for name, start in starts.items()})
    states = list(zip(jobs, ["done", "done", "done", "running", "running", "waiting"], strict=True))
    assert progress.pace(states, history, now) == (
        "2 jobs done in the last hour; at this pace the other 3 take 1.0 h; running longest: train_glue 4, 1.5 h"
    )
    assert progress.pace([], history, now) == "0 jobs done in the last hour"
    history.jobs[jobs[4].name]["time"] = history.jobs[jobs[3].name]["time"] = now - 20
    assert "longest" not in progress.pace(states, history, now)


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
        if event is None:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
    recorder.close()
    return {name: event["event"] for name, event in run_history.read(HISTORY).jobs.items()}


def test_a_failed_job_is_recorded_and_one_that_ctrl_c_ends_is_not(here):
    first, second = (1, "train_glue 0"), (2, "train_glue 1")
    started, ctrl_c = [(*one, LogEvent.JOB_INFO) for one in (first, second)], (0, "", None)
    previous = signal.getsignal(signal.SIGINT)
    try:
        done, error = (*first, LogEvent.JOB_FINISHED), (*second, LogEvent.JOB_ERROR)
        assert events(*started, done, error) == {"train_glue 0": "finished", "train_glue 1": "failed"}
        assert "--config incomplete=True" in job_events.advice("results")
        assert events(*started, ctrl_c, error) == {"train_glue 0": "started", "train_glue 1": "started"}
    finally:
        signal.signal(signal.SIGINT, previous)
    assert "continue (training resumes" in job_events.advice("results")
    assert "incomplete" not in job_events.advice("results")
    events((1, "download_dataset mine", LogEvent.JOB_INFO), (1, "", LogEvent.JOB_ERROR))
    assert job_events.advice("results").endswith("Correct what the errors above name, then rerun the same command.")


RECORD = {"seconds": 7200.0, "processes": 2, "device": "NVIDIA A100", "adapter_bytes": 5_000_000}


def training(dataset: str = "cola", method: str = "hra", seed: int = 0, **facts) -> planned_jobs.Job:
    wildcards = {"task": "glue", "dataset": dataset, "method": method, "variant": "r8", "seed": str(seed)}
    place = "/".join(wildcards.values())
    outputs = [f"{place}/train.json", f"{place}/last.safetensors", f"{place}/best.safetensors"]
    job = planned_jobs.Job("train_glue", wildcards, outputs, f"{place}/log", f"{place}/train.error.json", outputs[0])
    return dataclasses.replace(job, **{"gpus": 2, "work": 100.0, "stated": 3600.0} | facts)


def bases(hours: gpu_hours.Hours) -> list[str]:
    return [one.basis for one in hours.estimates]


def test_hours_by_records_and_by_the_config(here):
    first = training()
    here(first.record, RECORD)
    assert gpu_hours.hours([first], []) == gpu_hours.Hours(gpu=4.0)
    again, other, elsewhere = training(seed=1), training(method="lora", work=50.0), training("mnli", "lora", work=500.0)
    # As the same run and data, as the same data, as the same rule: 4 GPU-hours for a work of 100.
    hours = gpu_hours.hours([first, *(training(seed=seed, work=1e9) for seed in (2, 3))], [again, other, elsewhere])
    assert [one.hours for one in hours.estimates] == [4.0, 2.0, 20.0]
    assert (hours.gpu, hours.left, bases(hours)) == (4.0, 26.0, [gpu_hours.MEASURED] * 3)
    here(other.record, RECORD | {"processes": 1})
    assert gpu_hours.hours([first, other], [elsewhere]).left == pytest.approx((4 + 2) / 150 * 500)
    assert gpu_hours.hours([first, other], [training("mnli", "lora", work=None)]).left == pytest.approx(3.0)
    hours = gpu_hours.hours([], [again, training(stated=None)])
    assert (hours.left, bases(hours)) == (1.0, [gpu_hours.GUESSED, ""])
    text = "0 GPU-hours used, unknown GPU-hours remaining (no estimate for 1 job: train_glue)"
    assert str(gpu_hours.hours([], [training(stated=None)])) == text
    text = "0 CPU-hours used, unknown CPU-hours of 1 job (`make preflight` measures them)"
    assert str(gpu_hours.hours([], [training(gpus=0)])) == text
    assert gpu_hours.hours([], [training(work=0.0)]) == gpu_hours.Hours()  # the base model


def test_hours_on_a_cpu_of_interrupted_attempts_and_of_generations(here):
    cpu, interrupted, broken = training(gpus=0), training(seed=1), training(seed=2)
    here(cpu.record, RECORD | {"device": "CPU: Xeon", "processes": 1})
    here(interrupted.error.replace("train.error", "attempts"), {"seconds": [1800.0, 0.0]})
    touch(broken.record, time.time())  # truncated
    shard = planned_jobs.Job("generate_math", {}, ["shard"], "log", benchmark="shard.tsv", gpus=1)
    with open(shard.benchmark, "w") as stream:
        stream.write("s\th:m:s\n3600\t1:00:00\n")
    assert gpu_hours.hours([cpu, broken, shard], [interrupted]).gpu == pytest.approx(1.0 + 1.0)
    assert gpu_hours.hours([cpu], []) == gpu_hours.Hours(cpu=2.0)
    # A job on the CPU is estimated from one on a CPU, one on a GPU is not.
    left = [training(gpus=0, seed=3, work=200.0), training(seed=4, stated=None)]
    assert str(gpu_hours.hours([cpu], left)) == (
        "0 GPU-hours and 2 CPU-hours used, unknown GPU-hours and about 4 CPU-hours remaining "
        "(no estimate for 1 job: train_glue)"
    )
    assert gpu_hours.hours([cpu], left[:1]).dearest() == "train_glue cola/hra/r8 4 (1 job)"


CONFIG = {
    "methods": {"hra": {"kind": "hra", "variants": {"r8": {"preset": {}}}}, "base": {"kind": "pretrained"}},
    "presets": {"glue": {"p": {"all": {"epochs": 10, "batch_size": 32, "eval_steps": 100}}}},
    "tasks": {
        "glue": {"preset": "p", "defaults": {}, "resources": {"rows_per_second": 50}},
        "math": {
            "generation": {"resources": {"rows_per_second": 2}},
            "retention": {"resources": {"minutes": 30}},
            "resources": {},
        },
    },
    "datasets": {
        "glue": {"cola": {"rows": {"train": 3200, "dev": 300}, "benchmarks": {"dev": "dev"}}},
        "math": {"meta": {"benchmarks": {"gsm8k": "gsm8k/test"}}, "gsm8k": {"rows": {"test": 800}}},
    },
}
TASKS = tasks.load(CONFIG)


def test_the_work_of_a_job():
    run = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8"}
    # 10 × 3200 rows forward and backward; 10 times the 300 rows of dev forward, a third of that.
    assert gpu_hours.work(TASKS, "train_glue", run) == pytest.approx(32000 + 10 * 100)
    assert gpu_hours.work(TASKS, "train_glue", run | {"method": "base"}) == 0
    assert gpu_hours.work(TASKS, "evaluate_glue", run | {"benchmark": "dev"}) == pytest.approx(2 * 100)  # last and best
    shard = {"task": "math", "dataset": "meta", "benchmark": "gsm8k", "n_shards": "4"}
    assert gpu_hours.work(TASKS, "generate_math", shard) == 200
    assert gpu_hours.work(TASKS, "evaluate_harness", run) is gpu_hours.work(TASKS, "runs", {}) is None
    for job, seconds in (
        (training(), 2.0),
        (planned_jobs.Job("generate_math", shard, ["out"], "log", work=200), 100),
        (planned_jobs.Job("evaluate_harness", shard, ["out"], "log", gpus=2), 3600),
        (planned_jobs.Job("table", {"task": "glue"}, ["out"], "log"), None),
    ):
        assert gpu_hours.stated(TASKS, job) == seconds


@pytest.mark.slow
def test_a_dry_run_ends_with_what_its_tables_cost(fresh, done):
    output = fresh.snakemake("-n", "-q", "rules", "--", TABLE, "results/table_retention.csv")
    printed = output.partition("does not reflect the order of execution.\n")[2].splitlines()
    assert printed[0] == "table_glue: 1,047 jobs (0 done), including 455 training runs in 114 GPU jobs"
    assert re.fullmatch(
        r"  hours:    0 GPU-hours used, about \d+ GPU-hours remaining \(guessed from the config\)", printed[1]
    )
    assert re.fullmatch(r"  stages:   train \d+", printed[2])
    assert printed[3].startswith("  methods:  hra ")
    assert re.match(r"  dearest:  train_glue qqp/hra/r8 [\d.]+ \(5 jobs\), train_glue qqp/", printed[4])
    assert printed[5] == "table_retention: 12 jobs (0 done), including 2 training runs, 3 evaluations"
    assert printed[10] == "all 2 tables: 1,059 jobs"
    lines = {line.strip() for line in printed}
    assert any(line.startswith("download: 14 GB (deberta-v3-base 0.37, mnli 0.055, sst2 0.003, ") for line in lines)
    assert "licence:  deberta-v3-base, metamathqa-40k: MIT" in lines
    # 8 datasets × 5 seeds of full fine-tuning, last and best, in float32.
    assert (
        f"disk:     resources 14 GB (downloads 14); results {40 * 2 * 4 * 184e6 / 1e9:.3g} GB (weights 58.9); "
        "scratch 5.89 GB per running training (full/all, the largest); unknown before the first run: adalora/r8, "
        "bitfit/all, boft/m2b8, head/linear and 11 more"
    ) in lines
    assert "table_math" not in output

    command = ("-n", "--configfile", "small.yaml", "--", TABLE)
    manifest = {"files": {"weights": {"bytes": 370_000_000, "sha256": ""}}}
    for path, content in (
        ("results/glue/cola/hra/r8/seed0/train.json", RECORD),
        ("resources/models/deberta-v3-base.manifest.json", manifest),
    ):
        when = (done.folder / path).stat().st_mtime
        (done.folder / path).write_text(json.dumps(content))
        os.utime(done.folder / path, (when, when))
    done.change("small.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    done.change("small.yaml", "gpu: 0", "gpu: 1")
    output = done.snakemake(*command)
    assert "table_glue: 42 jobs (27 done), including 12 training runs (8 done) in 1 GPU job\n" in output
    assert re.search(
        r"  hours:    4 GPU-hours used, about \S+ GPU-hours remaining "
        r"\(measured by finished jobs\)\n",
        output,
    )
    assert "  download: 0.0553 GB (cola 0.0003, mnli 0.055); 0.37 GB already downloaded\n" in output
    limited = ("--cores", "1", "--config", "max_gpu_hours=0.001", *command[1:])
    refused = done.snakemake(*limited, ok=False)
    assert "Nothing was started. The remaining jobs need about " in refused
    assert "rule train_glue" not in refused
    assert re.search(
        r"  disk:     .*results 0\.06 GB \(weights 0\.06\).*unknown before the first run: lora/r8\n", output
    )


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
    monkeypatch.setattr(sys, "argv", ["status.py", "glue"])

    def counts() -> dict[str, int]:
        status.main()
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
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "small.yaml", "--", TABLE]
    with open("output", "w") as output, subprocess.Popen(command, stdout=output, stderr=output):
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
        " +first line\n +last line\n",
        counts.output,
    )


@pytest.mark.slow
def test_a_failed_figure_that_no_table_needs_is_shown(done, monkeypatch, capsys):
    fails = "from pathlib import Path\nPath(snakemake.log[0]).write_text('no font\\n')\nraise SystemExit(1)\n"
    (done.folder / "workflow/scripts/figures.py").write_text(fails)
    done.snakemake("--cores", "1", "--configfile", "small.yaml", "--", "results/figures/glue_curves.png", ok=False)
    monkeypatch.chdir(done.folder)
    monkeypatch.setattr(sys, "argv", ["status.py"])
    status.main()
    printed = capsys.readouterr().out
    assert "results, other targets" in printed and "results/table_glue" in printed
    assert re.search(r"failed: figures glue +logs/tables/figures_glue\.log\n +no font\n", printed)


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
        monkeypatch.setattr(sys, "argv", ["status.py", *arguments])
        status.main()
        return capsys.readouterr().out

    touch("demo/results/train.json", time.time())
    planned_jobs.save(
        "demo/results", "table_glue", [planned_jobs.Job("train_glue", {}, ["demo/results/train.json"], "")]
    )
    with pytest.raises(SystemExit, match=r"No run with results in mine/results requested a table.*make plan` shows"):
        printed("--configfile", "mine.yaml")
    planned_jobs.save(
        "mine/results", "table_glue", [planned_jobs.Job("train_glue", {}, ["mine/results/train.json"], "")]
    )
    own = printed("glue", "--configfile", "mine.yaml")
    assert "mine/results/table_glue" in own and "0 jobs done in the last hour" in own and "demo" not in own
    both = printed()
    assert "demo/results/table_glue" in both and "mine/results/table_glue" in both
    with pytest.raises(SystemExit, match=r"No file missing\.yaml"):
        printed("--configfile", "missing.yaml")


def test_a_table_that_nobody_asked_for_is_one_message(done, monkeypatch):
    monkeypatch.chdir(done.folder)
    monkeypatch.setattr(sys, "argv", ["status.py", "gleu"])
    with pytest.raises(
        SystemExit, match=r"No run .* requested gleu\. Requested tables: glue, retention\. `make plan` shows"
    ):
        status.main()


@pytest.mark.parametrize(
    ("scripts", "refused"),
    [
        (
            "collect_runs, compare, table, table_retention, table_compute, figures, print_table",
            "torch transformers peft datasets",
        ),
        ("gather_outputs, evaluate_math, status", "torch transformers peft datasets pandas numpy"),
    ],
)
def test_scripts_of_tables_and_merges_start_without_what_they_do_not_need(scripts, refused):
    code = f"import sys, {scripts}; print(sorted(set({refused.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow/scripts", capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
