"""An error of a job is a file and one line; GPUs are handed out by lock."""

import errno
import os
from pathlib import Path

import pytest
from snakemake.iocontainers import Wildcards

from hra_workflow.core import files, gpus, launcher, logs
from hra_workflow.core.errors import JobError
from hra_workflow.snakemake_bridge import gpu_resources
from support import paper_config


def job(folder: Path) -> dict:
    parts = {"input": {}, "output": {}, "params": {"scratch": str(folder / "scratch")}, "resources": {"gpu": 2}}
    return parts | {"rule": "try", "wildcards": {}, "log": str(folder / "log")}


def test_a_failure_is_a_line_and_a_file_and_a_success_removes_it(tmp_path):
    def failing(job):
        raise JobError("expected a, found b")

    error = tmp_path / "scratch/try.error.json"
    assert (
        logs.run_guarded(failing, job(tmp_path)) == files.read_json(error)["error"] == "JobError: expected a, found b"
    )
    assert logs.run_guarded(lambda job: None, job(tmp_path)) is None and not error.exists()


def test_only_the_first_attempt_of_what_trains_on_a_gpu_shares_it():
    config = paper_config()
    entry = config["tasks"]["glue"]["resources"]
    entry["runs_per_gpu"] = {"default": 3, "boft": 2}

    def shared(method="hra", attempt=1):
        wildcards = Wildcards(fromdict={"task": "glue", "method": method, "variant": "r8"})
        return gpu_resources.jobs_per_gpu(config, wildcards, attempt)

    assert (shared(), shared("boft"), shared(attempt=2), shared("base")) == (3, 2, 1, 1)
    entry["gpu"] = 0
    assert shared() == 1


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "LOCK_FOLDER", tmp_path / "locks")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def test_the_slots_of_a_gpu_never_add_up_to_more_than_the_gpu(two_gpus, monkeypatch):
    gpus.LOCK_FOLDER.mkdir()
    held = [gpus.lock_devices(["0", "1"], 1, share) for share in (3, 2, 4, 3, 6, 2)]
    assert [list(one) for one in held] == [["0"], ["0"], ["1"], ["1"], ["0"], []]
    for lock in held[1].values():
        lock.release()
    assert list(gpus.lock_devices(["0", "1"], 1, 2)) == ["0"]


def test_a_job_that_requests_no_gpu_sees_none(two_gpus):
    for requested, seen in ((1, "0,1"), (0, "")):
        gpus.hide_unrequested({"resources": {"gpu": requested}})
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_on_the_cpu_and_where_slurm_gave_just_these_no_gpu_is_reserved(monkeypatch, tmp_path):
    asked = job(tmp_path)
    assert gpus.to_reserve(asked) == 2
    assert gpus.to_reserve(asked | {"params": {"device": "cpu"}}) == 0
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert gpus.to_reserve(asked) == 0
    # A local run within an allocation (salloc): its jobs share four.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert gpus.to_reserve(asked) == 2


def test_a_full_scratch_disk_is_said_on_the_terminal_though_the_error_file_cannot_be_written(tmp_path, monkeypatch):
    """Test also several processes, whose job file cannot be written."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scratch/checkpoint-3")

    monkeypatch.setattr(files, "write_json", full)
    for main in (full, lambda job: launcher.torchrun("script.py", job, 2)):
        text = logs.run_guarded(main, job(tmp_path))
        assert "No space left on device" in text and "Free some space and run again" in text
        assert "try.error.json cannot be written" in text
