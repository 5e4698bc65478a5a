"""Training runs that share a GPU as one Slurm job: which ones, and how each ends, with a simulated Slurm."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import ResourceList

import run_packed
from common.core import grid
from common.planning import gpu_resources, packs, slurm_packs
from support import ROOT, paper_config

# srun, except that it has no Slurm to ask.
SRUN = '#!/bin/sh\nwhile [ "$1" != sh ]; do shift; done\nexec "$@"\n'
COMPUTE = "echo $HRA_RUNS_PER_GPU ${{SLURM_NTASKS-unset}} >> {out}"


class Job(SimpleNamespace):
    """What the executor reads of a job of Snakemake."""

    __hash__ = object.__hash__

    def is_group(self) -> bool:
        return False


def job(seed: int, method: str = "hra", size: int = 4) -> Job:
    wildcards = {"task": "glue", "dataset": "cola", "method": method, "variant": "r8", "seed": str(seed)}
    return Job(
        name="train_glue",
        rule=SimpleNamespace(name="train_glue", resources={"runs_per_gpu": 1}),
        wildcards=list(wildcards.values()),
        wildcards_dict=wildcards,
        threads=4,
        resources=ResourceList(fromdict={"mem_mb": 100, "gpu": 1, "runs_per_gpu": size, "runtime": 60}),
    )


def test_the_paper_needs_114_gpu_jobs_for_its_455_runs_of_glue():
    runs = grid.runs(paper_config(), "glue")
    made = packs.of(runs, 4, packs.but_seed)
    assert (len(runs), len(made)) == (455, 114)
    assert sum(len({packs.but_seed(run) for run in pack}) == 1 for pack in made) == 91
    assert {tuple(run.values()) for pack in made for run in pack} == {tuple(run.values()) for run in runs}
    assert len(packs.of(runs, 5, packs.but_seed)) == 91


def test_only_the_first_attempt_of_what_trains_on_a_gpu_shares_it():
    config = paper_config()
    entry = config["tasks"]["glue"]["resources"]
    entry["runs_per_gpu"] = 3

    def shared(method="hra", attempt=1):
        return gpu_resources.runs_per_gpu(config, SimpleNamespace(task="glue", method=method), attempt)

    assert (shared(), shared(attempt=2), shared("base")) == (3, 1, 1)
    entry["gpu"] = 0
    assert shared() == 1
    entry["gpu"] = 1
    config["preflight"] = "jobs"
    assert shared() == 1


@pytest.fixture
def executor(monkeypatch):
    """Build an executor whose Slurm only notes what is submitted and reported."""
    made = object.__new__(slurm_packs.PackingExecutor)
    made.alone, made.packs, made.reports = [], [], []
    made.waiting, made.changing, made.timer = [], threading.RLock(), None
    made.to_come, made.active_jobs = set(), []
    made.workflow = SimpleNamespace(executor_settings=SimpleNamespace(init_seconds_before_status_checks=1000))
    made._job_submission_executor = SimpleNamespace(submit=lambda run, pack: made.packs.append(pack))
    made.slurm_logdir = Path("logs")
    plugin = slurm_packs.Executor
    monkeypatch.setattr(plugin, "run_jobs", lambda self, jobs: self.alone.extend(jobs))
    monkeypatch.setattr(plugin, "run_job_pre", lambda self, job: None)
    monkeypatch.setattr(plugin, "report_job_error", lambda self, info, *_, **__: self.reports.append((info.job, False)))
    monkeypatch.setattr(plugin, "report_job_success", lambda self, info: self.reports.append((info.job, True)))
    yield made
    if made.timer:
        made.timer.cancel()


def test_seeds_share_a_job_at_once_and_the_others_when_no_more_arrive(executor):
    seeds, other = [job(seed) for seed in range(5)], job(0, "lora")
    executor.to_come = {*seeds, other}
    alone = job(9, size=1)
    executor.run_jobs([alone, *seeds[:3]])
    assert executor.alone == [alone] and not executor.packs
    executor.active_jobs = ["another job"]
    executor.submit_packs(quiet=True)
    assert not executor.packs  # two are to come
    executor.run_jobs([seeds[3]])
    assert [pack.jobs for pack in executor.packs] == [seeds[:4]]
    executor.run_jobs([seeds[4], other])
    assert len(executor.packs) == 1
    executor.submit_packs(quiet=True)
    assert executor.packs[1].jobs == [seeds[4], other] and not executor.waiting
    pack = executor.packs[0]
    assert (pack.threads, pack.resources.mem_mb, pack.resources.gpu, pack.resources.runtime) == (16, 400, 1, 60)


def test_runs_that_cannot_come_hold_nothing_up(executor):
    executor.to_come = {job(7)}
    executor.run_jobs([job(0)])
    executor.submit_packs(quiet=True)
    assert len(executor.packs) == 1


def test_a_pack_that_slurm_refuses_is_an_error_of_each_run_and_an_end_is_reported_once(executor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack = slurm_packs.Pack([job(0), job(1)])
    pack.folder.mkdir(parents=True)
    infos = executor.single(slurm_packs.SubmittedJobInfo(pack, "7", {}))
    (pack.folder / "0.ended").write_text("0\n")
    for info in infos:  # Slurm says that the pack has failed, which is true of one
        executor.report_job_error(info)
    assert executor.reports == [(pack.jobs[0], True), (pack.jobs[1], False)]
    assert slurm_packs.exit_status(infos[0]) is None
    executor.report_job_error(slurm_packs.SubmittedJobInfo(slurm_packs.Pack([job(2), job(3)]), None, None))
    assert [good for _, good in executor.reports] == [True, False, False, False]


def test_a_pack_is_known_by_the_jobs_that_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = packs.FOLDER / "abc"
    folder.mkdir(parents=True)
    (folder / "pack.json").write_text(json.dumps({"runs": [{"comment": "one"}, {"comment": "two"}]}))
    assert packs.comments(packs.comment(packs.NAME, ["abc"])) == {"one", "two"}
    assert packs.comments("rule_train_glue_wildcards_x") == {"rule_train_glue_wildcards_x"}
    assert packs.comments("rule_pack_wildcards_gone") == {"rule_pack_wildcards_gone"}


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """Return a function that starts a pack of shell commands, with a stand-in for srun."""
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_NTASKS", "1")

    def start(*commands: str) -> subprocess.Popen:
        runs = [{"command": one, "threads": 1, "mem_mb": 100, "gpu": 1, "log": "log"} for one in commands]
        (tmp_path / "pack.json").write_text(json.dumps({"runs": runs}))
        return subprocess.Popen([sys.executable, ROOT / "workflow/scripts/run_packed.py", tmp_path])

    return start


def ends(folder: Path) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in folder.glob("*.ended")}


@pytest.mark.slow
def test_each_run_of_a_pack_has_its_own_end_and_only_unfinished_ones_start_again(pack, tmp_path):
    good, bad = COMPUTE.format(out=tmp_path / "good"), COMPUTE.format(out=tmp_path / "bad") + "; exit 3"
    assert pack(good, bad, "kill -9 $$").wait() == 1
    assert ends(tmp_path) == {"0": 0, "1": 3, "2": -9}
    assert (tmp_path / "good").read_text() == "3 unset\n"
    (tmp_path / "2.ended").rename(tmp_path / "2.taken")  # reported: Snakemake retries it
    assert pack(good, bad, f"touch {tmp_path / 'again'}").wait() == 1
    assert ends(tmp_path) == {"0": 0, "1": 3}
    assert [(tmp_path / name).read_text().count("\n") for name in ("good", "bad")] == [1, 2]
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_a_pack_that_is_told_to_end_tells_its_runs_and_reports_none_of_them_as_failed(pack, tmp_path):
    waits = "trap 'echo saved >> {0}/saved; exit {1}' TERM; touch {0}/$$.up; while :; do sleep 0.1; done"
    # srun's status is 0 if Slurm kills the step.
    process = pack(waits.format(tmp_path, 1), waits.format(tmp_path, 0), "true")
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.up"))) < 2 or not ends(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1
    assert ends(tmp_path) == {"2": 0}
    assert (tmp_path / "saved").read_text() == "saved\n" * 2


@pytest.mark.parametrize("works", [True, False])
def test_the_multi_process_service_runs_on_request_and_need_not(tmp_path, monkeypatch, capsys, works):
    control = f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY $1 $(cat)" >> {tmp_path}/calls\nexit {int(not works)}\n'
    (tmp_path / "nvidia-cuda-mps-control").write_text(control)
    (tmp_path / "nvidia-cuda-mps-control").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with run_packed.multi_process_service():
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ  # not requested
    monkeypatch.setenv("HRA_MPS", "1")
    with run_packed.multi_process_service():
        assert ("CUDA_MPS_PIPE_DIRECTORY" in os.environ) == works
    assert ("take turns" in capsys.readouterr().out) == (not works)
    calls = [line.split()[1:] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ([["-d"], ["quit"]] if works else [["-d"]])
