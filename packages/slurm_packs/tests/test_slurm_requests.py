"""What the executor asks of Slurm for every kind of job of the paper.

With stand-ins for Slurm's commands: sbatch notes its arguments.
"""

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import ResourceList
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import SharedFSUsage

from snakemake_executor_plugin_slurm_packs import Executor, ExecutorSettings, packs, requests
from support import ROOT
from test_profiles import jobs, profile  # noqa: F401 a fixture
from test_slurm_profile import executor_settings

COMMANDS = {
    "sbatch": 'echo "$*" >> "$0.log"; echo 1',
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


class Submits(Executor):
    """The executor, without Snakemake."""

    def format_job_exec(self, job) -> str:
        return "true"

    def report_job_submission(self, job_info, register_job: bool = True) -> None: ...


@pytest.fixture
def sbatch(tmp_path, monkeypatch) -> Path:
    """Put stand-ins on PATH, work in an empty folder, and return the file of sbatch's arguments."""
    for name, script in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (example,) = re.findall(r"```text\n(partitions:.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (tmp_path / "partitions.yaml").write_text(example)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(ExecutorSettings, "stated", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sbatch.log"


@pytest.fixture
def settings(request, sbatch, monkeypatch) -> ExecutorSettings:
    """Return the executor's settings, as a site has set up the profile."""
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


def executor(settings: ExecutorSettings) -> Submits:
    remote = {"max_status_checks_per_second": 1, "jobname": "{jobid}", "jobscript": None, "immediate_submit": True}
    workflow = SimpleNamespace(
        dag=None,
        scheduler=None,
        executor_plugin=None,  # ends the thread that asks for the status of jobs
        executor_settings=settings,
        main_snakefile="Snakefile",
        remote_execution_settings=SimpleNamespace(**remote),
        storage_settings=SimpleNamespace(shared_fs_usage=SharedFSUsage.all()),
        workdir_init=".",
    )
    return Submits(workflow, logging.getLogger(__name__))


@pytest.mark.parametrize("settings", SITES, indirect=True)
def test_every_kind_of_job_is_submitted_with_the_partition_of_the_site(jobs, settings, sbatch):  # noqa: F811
    planned_jobs = [of_profile(*one) for one in jobs]
    submits = executor(settings)
    submits.submit([[one] * packs.size(one) for one in planned_jobs])
    submits.shutdown()
    submitted = re.findall(r" --comment \S+ (.*) --wrap=true$", sbatch.read_text(), re.MULTILINE)
    assert len(submitted) == len(planned_jobs)
    assert all(" -p " in f" {options}" for options in submitted), submitted


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


@pytest.mark.parametrize("settings", ["bare"], indirect=True)
def test_as_many_jobs_in_series_are_submitted_as_fit(settings):
    settings.allocation_minutes = 100
    one = job("evaluate_math", runtime=30, mem_mb=10, jobs_per_allocation=20)
    options = packs.options(packs.Submission(packs.full(one, 100), settings, Path()), settings)
    assert " -t 90 " in options and " --mem 10 " in options


@pytest.mark.parametrize("settings", ["bare"], indirect=True)
@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"slurm_account": "other"}, "The given account other appears to be invalid"),
        ({"slurm_extra": "--qos=high"}, "not allowed in the 'slurm_extra' parameter"),
        ({"jobs_per_allocation": 0}, "jobs_per_allocation: expected a whole number of at least 1, found 0"),
    ],
)
def test_wrong_resources_are_refused_before_slurm_gets_them(settings, sbatch, resources, message):
    one = job("train_glue", **resources)
    with pytest.raises(WorkflowError, match=message):
        packs.check(one)
        packs.options(packs.Submission(packs.full(one, 0), settings, Path()), settings)
    assert not sbatch.exists()


def test_a_stage_without_a_resource_is_refused():
    with pytest.raises(Exception, match="expected STAGE:RESOURCE=VALUE, found train=grant"):
        ExecutorSettings(stages="train=grant")
