"""status.py, plan.py and the end of a dry-run: the jobs are the rules', the states Snakemake's, the hours records'."""

import json
import os
import re
import subprocess
import sys
import time

import plan
import pytest
import status
from snakemake.persistence.file import FilePersistence

from common import config as grid
from common import costs, jobs, progress
from support import ROOT

TABLE = "results/table_glue.csv"
TABLES = ["glue", "math", "retention", "compute"]


@pytest.fixture
def config(fresh) -> dict:
    return grid.load([str(fresh.folder / "small.yaml")])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Write JSON files of a project of its own."""
    monkeypatch.chdir(tmp_path)

    def write(path: str, content: dict) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))

    return write


def one(config: dict, rule: str, table: str = "glue", **run) -> jobs.Job:
    """The first job of a rule whose run has these values."""
    return next(
        job
        for job in jobs.of_table(config, table)
        if job.rule == rule and all(job.run[key] == value for key, value in run.items())
    )


def test_the_jobs_are_those_of_the_rules(fresh, config):
    targets = [f"results/table_{name}.csv" for name in TABLES]
    output = fresh.snakemake("-n", "--configfile", "small.yaml", "--", *targets)
    planned = {}
    for block in re.split(r"\n(?:local)?rule ", output)[1:]:
        facts = dict(re.findall(r"^\s+(output|log): (.*)", block, flags=re.MULTILINE))
        for path in facts["output"].split(", "):
            planned[path.split(" ")[0]] = (block.partition(":")[0], facts["log"].split(" ")[0])
    listed = {job for name in TABLES for job in jobs.of_table(config, name)}
    assert {job.output: (job.rule, job.log) for job in listed}.items() <= planned.items()
    assert len({rule for rule, _ in planned.values()}) == len({job.rule for job in listed})
    total = int(re.search(r"^total\s+(\d+)", output, flags=re.MULTILINE)[1])
    assert len({job.output for job in listed}) == total


@pytest.mark.parametrize("task", ["glue", "math"])
def test_errors_are_looked_for_where_the_run_table_looks(config, task):
    places = grid.places(config)
    expected = grid.expected_runs(config, task, places["scratch"], places["start_scratch"])
    known = {path for run in expected for paths in (run["errors"], *run["benchmarks"].values()) for path in paths}
    assert {job.error for job in jobs.of_table(config, task) if job.error} == known


def touch(path: str, when: float) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a"):
        os.utime(path, (when, when))


@pytest.mark.parametrize("length", [10, 250])  # Snakemake spreads a long name over folders
def test_states(here, length):
    job = jobs.Job("train_glue", f"results/{'a' * length}/train.json", "logs/train.log", "scratch/train.error.json")
    now, lock = time.time(), progress.LOCKS / "0.output.lock"
    snakemake = FilePersistence.__new__(FilePersistence)
    snakemake._incomplete_path, snakemake._max_len, snakemake._incomplete_cache = str(progress.INCOMPLETE), None, None

    def state() -> str:
        return progress.states([job])[job]

    assert state() == "waiting"
    progress.INCOMPLETE.mkdir(parents=True)
    snakemake._mark_incomplete(job.output, None)
    touch(str(lock), now)
    assert state() == "queued"
    touch(job.log, now - 10)  # of an earlier attempt
    assert state() == "queued"
    touch(job.log, now + 10)
    assert state() == "running"
    lock.unlink()
    assert state() == "stopped"
    snakemake._unmark_incomplete(job.output)
    assert state() == "stopped"
    here(job.error, {"error": "ValueError: no"})
    assert state() == "failed"
    touch(job.output, now)
    assert state() == "done"


def test_a_shard_is_done_when_it_has_gone_into_the_whole(here, config):
    shard = one(config, "generate_math", "math")
    assert progress.states([shard])[shard] == "waiting"
    touch(shard.merged, time.time())
    assert progress.states([shard])[shard] == "done"


RECORD = {"seconds": 7200.0, "processes": 2, "device": "NVIDIA A100", "adapter_bytes": 5_000_000}


def test_hours_by_records_and_by_the_config(here, config):
    config["tasks"]["glue"]["resources"] |= {"gpu": 2, "rows_per_second": 100}
    table = jobs.of_table(config, "glue")

    def estimate(*chosen: jobs.Job) -> costs.Estimate:
        return costs.Costs(config, table).estimate(chosen)

    cola, other, mnli = (
        one(config, "train_glue", dataset=name, method=method, seed=0)
        for name, method in (("cola", "hra"), ("cola", "lora"), ("mnli", "hra"))
    )
    # The dev set is passed forward, a third of a step, every 100 steps of 32 rows.
    epochs = grid.hyperparameters(config, "glue", "cola", "hra/r8")["epochs"]
    work = 8551 * epochs * (1 + 1043 / 3 / 100 / 32)
    assert estimate(cola).hours == pytest.approx(work / 100 / 3600)
    assert (estimate(cola).by_config, estimate(cola).by_records) == (1, 0)

    here(cola.output, RECORD)
    assert costs.Costs(config, table).spent == costs.Spent(gpu=4.0)
    again = one(config, "train_glue", dataset="cola", method="hra", seed=1)
    assert estimate(again).hours == pytest.approx(4.0) and estimate(again).by_records == 1
    ratio = costs.amount(config, other) / costs.amount(config, cola)
    assert estimate(other).hours == pytest.approx(4.0 * ratio)  # the same data at the same rate
    assert estimate(mnli).hours == pytest.approx(4.0 * costs.amount(config, mnli) / work)

    del config["tasks"]["glue"]["resources"]["rows_per_second"]
    evaluation = one(config, "evaluate_glue", dataset="cola")
    assert (estimate(evaluation).unknown, str(estimate())) == (1, "none")
    config["tasks"]["glue"]["resources"]["minutes"] = 30
    assert estimate(evaluation).hours == pytest.approx(0.5)


def test_hours_on_a_cpu_and_of_interrupted_attempts(here, config):
    config["tasks"]["glue"]["resources"]["gpu"] = 1
    first, second = (one(config, "train_glue", seed=seed) for seed in (0, 1))
    here(first.output, RECORD | {"device": "CPU: Xeon", "processes": 1})
    here(os.path.join(os.path.dirname(second.error), "attempts.json"), {"seconds": [1800.0, 0.0]})
    shard = one(config, "generate_math", "math")
    here(costs.benchmark_file(shard), {})
    with open(costs.benchmark_file(shard), "w") as stream:
        stream.write("s\th:m:s\n3600.5\t1:00:00\n")
    assert costs.Costs(config, [first, second]).spent == costs.Spent(gpu=0.5, cpu=2.0)
    assert costs.Costs(config, [shard]).spent.gpu == pytest.approx(1, abs=0.001)


def test_a_pretrained_run_costs_no_training_and_a_record_not_whole_is_none(here, config):
    base, run = one(config, "train_math", "math", method="base"), one(config, "train_math", "math", method="hra")
    touch(run.output, time.time())
    made = costs.Costs(config, [base, run])
    assert made.spent == costs.Spent()
    assert made.estimate([base]) == costs.Estimate()


def test_plan(here, config, capsys):
    resources = {"files": {"weights": {"bytes": 370_000_000, "sha256": ""}}}
    assert plan.lines(config, "glue")["download"] == "0.37 GB (deberta-v3-base 0.37); unknown: cola, mnli"
    here("resources/models/deberta-v3-base.manifest.json", resources)
    here(one(config, "train_glue", method="hra", dataset="cola", seed=0).output, RECORD)
    lines = plan.lines(config, "glue")
    assert (lines["jobs"], lines["trainings"]) == ("29, 2 done", "8, 1 done")
    assert (lines["shards"], lines["evaluations"]) == ("0", "12")
    assert lines["download"] == "0.37 GB are there; unknown: cola, mnli"
    # Four runs of HRA, last and best of each; nothing is known of LoRA.
    assert lines["disk"] == "0.04 GB of weights; not known before their first run: lora/r8"
    lines = plan.lines(config, "math")
    assert (lines["trainings"], lines["shards"], lines["evaluations"]) == ("43", "368", "92")


def test_a_dry_run_ends_with_the_hours_of_its_tables(fresh, done):
    command = ("-n", "-q", "rules", "--config", "mirror=null", "--")
    last = fresh.snakemake(*command, TABLE).partition("does not reflect")[2]
    assert re.search(r"\ntable_glue: 0 GPU-hours so far, about \d+ GPU-hours \(965 jobs by the config\) to go\n", last)
    assert "table_math" not in last
    # Empty files for records: none the worse.
    assert "table_glue: 0 GPU-hours so far, none to go\n" in done.snakemake(
        "-n", "--configfile", "small.yaml", "--", TABLE
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


def test_status_beside_a_running_snakemake(done, monkeypatch, capsys):
    (done.folder / "workflow/scripts/evaluate_glue.py").write_text(WAITS)
    for path in done.folder.glob("results/glue/cola/*/r8/seed0/validation/metrics.json"):
        path.unlink()
    for path in done.folder.glob("logs/evaluate/glue/cola/*/r8/seed0/validation.log"):
        path.unlink()
    monkeypatch.chdir(done.folder)
    monkeypatch.setattr(sys, "argv", ["status.py", "glue", "--configfile", "small.yaml"])

    def counts() -> dict[str, int]:
        status.main()
        output = capsys.readouterr().out
        line = next(line for line in output.splitlines() if line.startswith(" evaluate_glue"))
        heads = next(line for line in output.splitlines() if " done " in line)
        places = {head: heads.index(head) + len(head) for head in progress.STATES}
        counts.output = output
        return {head: int(line[:end].split()[-1]) for head, end in places.items() if line[end - 1].isdigit()}

    assert counts() == {"done": 10, "waiting": 2}
    assert "Snakemake is not running here." in counts.output
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "small.yaml", "--", TABLE]
    with open("output", "w") as output, subprocess.Popen(command, stdout=output, stderr=output):
        deadline = time.time() + 60
        while (now := counts()).get("running") != 1 and time.time() < deadline:
            time.sleep(0.2)
        (done.folder / "go").touch()
        assert now == {"done": 10, "running": 1, "waiting": 1}
        assert "Snakemake is running." in counts.output
    assert "GPU-hours" not in (done.folder / "output").read_text()
    assert counts() == {"done": 11, "stopped": 1}
    assert re.search(
        r"stopped: evaluate_glue cola/lora/r8/seed0/validation +logs/evaluate/glue/cola/lora/r8/seed0/validation.log\n"
        " +first line\n +last line\n",
        counts.output,
    )


def test_an_unknown_table_is_one_message():
    done = subprocess.run([sys.executable, ROOT / "workflow/scripts/plan.py", "gleu"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "unknown table gleu; known: glue, math, retention, compute\n"


@pytest.mark.parametrize(
    ("scripts", "refused"),
    [
        (
            "collect_runs, table, table_retention, table_compute, figures, show_table",
            "torch transformers peft datasets",
        ),
        ("gather_outputs, evaluate_math, status, plan", "torch transformers peft datasets pandas numpy"),
    ],
)
def test_scripts_of_tables_and_merges_start_without_what_they_do_not_need(scripts, refused):
    code = f"import sys, {scripts}; print(sorted(set({refused.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow/scripts", capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
