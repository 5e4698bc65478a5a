"""Which jobs share a GPU, what Slurm is asked for them, and how each ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import ResourceList

from snakemake_executor_plugin_slurm_packs import RUN_PACK, ExecutorSettings, packs, run_pack

# srun, except that it has no Slurm to ask.
SRUN = '#!/bin/sh\nwhile [ "$1" != sh ]; do shift; done\nexec "$@"\n'
COMPUTE = "echo $PACKED_JOBS ${{SLURM_NTASKS-unset}} >> {out}"


def job(seed: int, name: str = "a", size: int = 4, **resources):
    values = {"mem_mb": 100, "gpu": 1, "runtime": 60, packs.RESOURCE: size} | resources
    return SimpleNamespace(
        rule=SimpleNamespace(name="train", resources=values),
        is_group=lambda: False,
        wildcards_dict={"name": name, "seed": seed},
        threads=4,
        resources=ResourceList(fromdict=values),
    )


def name_of(one) -> str:
    return one.wildcards_dict["name"]


def test_replicates_share_a_gpu_first_and_as_few_packs_as_possible_are_made():
    jobs = [job(seed, name) for name in "abc" for seed in range(5)]
    made = packs.distribute(jobs, name_of)
    assert [len(pack) for pack in made] == [4, 4, 4, 3]
    assert [len(set(map(name_of, pack))) for pack in made] == [1, 1, 1, 3]
    assert sorted(id(one) for pack in made for one in pack) == sorted(map(id, jobs))
    # Jobs of another size, such as retries, never share with them.
    assert [len(pack) for pack in packs.distribute([*jobs[:3], job(9, size=2)], name_of)] == [3, 1]


def test_only_rules_with_the_resource_are_asked_for_it():
    plain = job(0)
    plain.rule.resources = {}
    plain.resources = None  # may be a function of an input that does not exist yet
    assert not packs.shares_gpu(plain)
    assert packs.shares_gpu(job(0)) and not packs.shares_gpu(job(0, size=1))


def requested(*jobs, **settings) -> dict:
    return dict(packs.Submission(list(jobs), ExecutorSettings(**settings), Path()).resources.items())


def test_a_pack_requests_one_gpu_and_the_memory_of_all():
    pack = packs.Submission([job(0), job(1)], ExecutorSettings(), Path("folder"))
    assert pack.threads == 8 and pack.resources.mem_mb == 200 and pack.resources.gpu == 1
    assert pack.resources.runtime == 60 and pack.name == "pack" and pack.wildcards[0] == "2"


def test_group_jobs_are_logged():
    group, logged = job(0), []
    group.is_group, group.log_info = lambda: True, lambda: logged.append(group)  # other jobs' log_info has parameters
    packs.Submission([group], ExecutorSettings(), Path()).log_info()
    assert logged == [group]


def test_a_site_states_partition_model_and_form_of_requests_once():
    site = {"partition": "cpu", "gpu_partition": "gpu", "gpu_model": "a100"}
    found = requested(job(0), **site)
    assert (found["slurm_partition"], found["gpu_model"], found["gpu"]) == ("gpu", "a100", 1)
    found = requested(job(0, gpu=0), **site)
    assert found["slurm_partition"] == "cpu" and "gpu_model" not in found
    found = requested(job(0, slurm_partition="mine", gpu_model="h100"), **site)
    assert (found["slurm_partition"], found["gpu_model"]) == ("mine", "h100")
    found = requested(job(0, gpu=2), gres=True, gpu_model="a100")
    assert found["gres"] == "gpu:a100:2" and not {"gpu", "gpu_model"} & set(found)
    assert requested(job(0), gres=True)["gres"] == "gpu:1"
    assert "gres" not in requested(job(0, gpu=0), gres=True)


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """Return a function that starts a pack of shell commands, with a stand-in for srun."""
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_NTASKS", "1")

    def start(*commands: str) -> subprocess.Popen:
        jobs = [{"command": one, "threads": 1, "mem_mb": 100, "gpu": 1, "log": "log"} for one in commands]
        (tmp_path / "pack.json").write_text(json.dumps({"jobs": jobs}))
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
    command = run_pack.step({"command": "train", "threads": 1, "mem_mb": 0, "gpu": 1, "log": "log"}, tmp_path, devices)
    assert command[-1].startswith("export CUDA_VISIBLE_DEVICES=GPU-b; train" if works else "train")
    assert ("take turns" in capsys.readouterr().out) == (not works)
    calls = [line.split()[1:] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ([["GPU-b", "-d"], ["GPU-b", "quit"]] if works else [["GPU-b", "-d"]])
