"""How the jobs of a pack run and end (run_pack.py)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_slurm_packs import RUN_PACK, packs, run_pack

# srun, except that it has no Slurm to ask.
SRUN = '#!/bin/sh\nwhile [ "$1" != sh ]; do shift; done\nexec "$@"\n'
COMPUTE = "echo $PACKED_JOBS ${{SLURM_NTASKS-unset}} >> {out}"


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """Return a function that starts a pack of shell commands, with a stand-in for srun."""
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_NTASKS", "1")

    def start(*commands: str, at_once: int | None = None) -> subprocess.Popen:
        values = {"cpus": 1, "minutes": 0, "mem_mb": 100, "gpu": 1, "log": "log"}
        jobs = [values | {"command": one} for one in commands]
        (tmp_path / "pack.json").write_text(json.dumps({"jobs": jobs, "at_once": at_once or len(jobs)}))
        return subprocess.Popen([sys.executable, RUN_PACK, tmp_path])

    return start


def ends(folder: Path) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in folder.glob(f"*{packs.ENDED}")}


def test_each_job_of_a_pack_has_its_own_end_and_only_unfinished_ones_start_again(pack, tmp_path):
    good, bad = COMPUTE.format(out=tmp_path / "good"), COMPUTE.format(out=tmp_path / "bad") + "; exit 3"
    assert pack(good, bad, "kill -9 $$").wait() == 1
    assert ends(tmp_path) == {"0": 0, "1": 3, "2": -9}
    assert (tmp_path / "good").read_text() == "3 unset\n"
    (tmp_path / f"2{packs.ENDED}").rename(tmp_path / f"2{packs.REPORTED}")  # Snakemake retries it
    assert pack(good, bad, f"touch {tmp_path / 'again'}").wait() == 1
    assert ends(tmp_path) == {"0": 0, "1": 3}
    assert [(tmp_path / name).read_text().count("\n") for name in ("good", "bad")] == [1, 2]
    assert not (tmp_path / "again").exists()


def test_a_requeue_of_jobs_in_series_runs_those_that_have_not_ended(pack, tmp_path):
    line, out = "echo {1} >> {0}/out; until [ {1} = 0 ] || [ -e {0}/go ]; do sleep 0.1; done", tmp_path / "out"
    jobs = [line.format(tmp_path, index) for index in range(3)]
    process = pack(*jobs, at_once=1)
    while not out.exists() or "1" not in out.read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 1
    assert ends(tmp_path) == {"0": 0} and "2" not in out.read_text()
    (tmp_path / "go").touch()
    assert pack(*jobs, at_once=1).wait() == 0
    assert ends(tmp_path) == {"0": 0, "1": 0, "2": 0}
    assert out.read_text().split() == ["0", "1", "1", "2"]


def test_a_pack_that_is_told_to_end_tells_its_jobs_and_reports_none_of_them_as_failed(pack, tmp_path):
    waits = "trap 'echo saved >> {0}/saved; exit {1}' TERM; touch {0}/$$.up; while :; do sleep 0.1; done"
    # srun's status is 0 if Slurm kills the step.
    process = pack(waits.format(tmp_path, 1), waits.format(tmp_path, 0), "true")
    while len(list(tmp_path.glob("*.up"))) < 2 or not ends(tmp_path):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 1
    assert ends(tmp_path) == {"2": 0}
    assert (tmp_path / "saved").read_text() == "saved\n" * 2


@pytest.mark.parametrize("works", [True, False])
def test_the_multi_process_service_runs_during_the_pack_and_need_not(tmp_path, monkeypatch, capsys, works):
    says = '"$CUDA_MPS_PIPE_DIRECTORY $CUDA_VISIBLE_DEVICES $1 $(cat)"'
    control = f"#!/bin/sh\necho {says} >> {tmp_path}/calls\nexit {int(not works)}\n"
    (tmp_path / "nvidia-cuda-mps-control").write_text(control)
    (tmp_path / "nvidia-cuda-mps-control").chmod(0o755)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '0, GPU-a\\n1, GPU-b\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # Slurm's index, which the service does not know
    with run_pack.multi_process_service() as devices:
        assert ("CUDA_MPS_PIPE_DIRECTORY" in os.environ) == works
        assert devices == ("GPU-b" if works else None)
    values = {"command": "train", "cpus": 1, "minutes": 0, "mem_mb": 0, "gpu": 1, "log": "log"}
    command = run_pack.step(values, tmp_path, devices)
    assert command[-1].startswith("export CUDA_VISIBLE_DEVICES=GPU-b; train" if works else "train")
    assert ("take turns" in capsys.readouterr().out) == (not works)
    calls = [line.split()[1:] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ([["GPU-b", "-d"], ["GPU-b", "quit"]] if works else [["GPU-b", "-d"]])
