"""Profiles: what stands where, and what a site says in its environment."""

import re

import pytest
import yte

from support import ROOT


def profile(name: str) -> dict:
    with (ROOT / f"profiles/{name}/config.yaml").open() as stream:
        return yte.process_yaml(stream, require_use_yte=True)


def test_profiles_keep_to_their_rooms():
    default = profile("default")
    assert not {"executor", "jobs", "cores", "default-resources", "retries"} & default.keys()
    assert "code" not in default["rerun-triggers"]
    slurm = profile("slurm")
    assert slurm["executor"] == "slurm" and slurm["slurm-status-command"] == "squeue" and slurm["retries"] > 0


@pytest.mark.parametrize("name", ["slurm", "lsf"])
def test_a_profile_that_names_the_gpu_rules_names_all(name, monkeypatch):
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    with_gpu = {
        block.split(":")[0] for block in re.split(r"^rule ", rules, flags=re.MULTILINE) if "        gpu=" in block
    }
    for variable in ("PARTITION", "GPU_PARTITION", "GPU_MODEL"):
        monkeypatch.setenv(f"HRA_SLURM_{variable}", "x")
    assert set(profile(name)["set-resources"]) == with_gpu


def test_a_site_says_what_is_its_own_in_the_environment(monkeypatch):
    assert "set-resources" not in profile("slurm") and "slurm-qos" not in profile("slurm")
    site = {
        "ACCOUNT": "123",
        "PARTITION": "cpu",
        "GPU_PARTITION": "gpu",
        "GPU_MODEL": "a100",
        "QOS": "high",
        "JOBS": "7",
    }
    for name, value in site.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    slurm = profile("slurm")
    assert (slurm["jobs"], slurm["slurm-qos"]) == ("7", "high")
    assert slurm["default-resources"] == {
        "mem_mb": 4000,
        "runtime": 60,
        "slurm_account": "123",
        "slurm_partition": "cpu",
    }
    assert slurm["set-resources"]["train_glue"] == {"slurm_partition": "gpu", "gpu_model": "a100"}


def test_memory_grows_with_each_attempt():
    from common.core import grid

    stated = {"mem_mb": 16000, "runtime": 60}
    assert [grid.resource(stated, "mem_mb", None, attempt) for attempt in (1, 2, 3)] == [16000, 24000, 32000]
    assert grid.resource(stated, "runtime", None, 3) == 60 and grid.resource(stated, "gpu", 0, 3) == 0
