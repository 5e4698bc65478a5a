"""What the executor asks of Slurm for every kind of job of the paper."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import ResourceList

from snakemake_executor_plugin_slurm_packs import ExecutorSettings, packs, requests
from support import ROOT
from test_profiles import jobs, profile  # noqa: F401 a fixture
from test_slurm_profile import executor_settings

COMMANDS = {
    "scontrol": "echo 'MinJobAge = 300 sec'",
    "sinfo": "echo 'cpu* gpu'",
    "sacctmgr": "echo lab; echo grant",
    "sacct": "exit 1",
}
SITES = {
    "bare": {},
    "stated": {"PARTITION": "cpu", "GPU_PARTITION": "gpu", "GPU_MODEL": "a100", "ACCOUNT": "lab", "QOS": "high"},
    "by stage": {"PARTITIONS": "partitions.yaml", "GRES": "1", "GPU_MODEL": "a100", "ACCOUNT_TRAIN": "grant"},
}


@pytest.fixture
def settings(request, tmp_path, monkeypatch) -> ExecutorSettings:
    """Return the executor's settings, as a site has set up the profile, with stand-ins for Slurm's commands on PATH."""
    for name, script in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (example,) = re.findall(r"```text\n(partitions:.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (tmp_path / "partitions.yaml").write_text(example)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(ExecutorSettings, "stated", None)
    monkeypatch.chdir(tmp_path)
    for name, value in SITES[request.param].items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    return executor_settings()


def job(rule: str, threads: int = 1, **resources) -> SimpleNamespace:
    return SimpleNamespace(
        name=rule,
        rule=SimpleNamespace(name=rule, resources=resources),
        jobid=0,
        wildcards=(),
        threads=threads,
        resources=ResourceList(fromdict=resources),
        is_group=lambda: False,
        log_info=lambda *_: None,
    )


def of_profile(rule: str, resources: dict[str, str]) -> SimpleNamespace:
    defaults = {name: str(value).strip("'") for name, value in profile("slurm")["default-resources"].items()}
    return job(rule, **{name: int(one) if one.isdigit() else one for name, one in (defaults | resources).items()})


@pytest.mark.parametrize("settings", SITES, indirect=True)
def test_every_kind_of_job_requests_a_partition_of_the_site(jobs, settings):  # noqa: F811
    for one in (of_profile(*job) for job in jobs):
        options = packs.options(packs.Submission([one] * packs.size(one), settings, Path()), settings)
        assert " -p " in f" {options}", one.name


@pytest.mark.parametrize("settings", ["by stage"], indirect=True)
def test_a_job_has_the_partition_and_account_of_its_gpus_and_stage(settings):
    """The example of docs/cluster.md."""
    found = {
        gpu: packs.options(packs.Submission([job("any", gpu=gpu, runtime=60, stage=stage)], settings, Path()), settings)
        for gpu, stage in ((0, None), (1, "evaluate"), (8, "train"))
    }
    assert [re.search(r"-p (\S+)", options)[1] for options in found.values()] == ["cpu", "gpu-shared", "gpu-nodes"]
    assert ["-A grant" in options for options in found.values()] == [False, False, True]
    assert "--gres=gpu:a100:8" in found[8] and "--gres" not in found[0]


@pytest.mark.parametrize("settings", ["stated"], indirect=True)
def test_a_dry_run_shows_what_is_requested_without_a_command_of_slurm(settings, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    refused = job("train_glue", jobs_per_allocation=0)
    trained = [of_profile("train_glue", {"gpu": "1", "runtime": minutes}) for minutes in ("10", "10", "20")]
    found = requests.resources([*trained, of_profile("augment", {}), refused])
    assert [one.get("gpu_model") for one in found] == ["a100", "a100", None]
    assert [one.slurm_partition for one in found] == ["gpu", "gpu", "cpu"]
    assert {one.slurm_account for one in found} == {"lab"} and {one.qos for one in found} == {"high"}
    monkeypatch.setattr(ExecutorSettings, "stated", None)
    assert requests.resources(trained) is None
