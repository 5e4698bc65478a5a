"""The profile of the workflow for Slurm: its options are those of this executor, and say what a site states."""

import re

from snakemake_executor_plugin_slurm_packs import ExecutorSettings
from support import ROOT
from test_profiles import profile


def executor_settings() -> ExecutorSettings:
    """Return the settings that profiles/slurm states; a key that is none of them is an error."""
    prefix = "slurm-packs-"
    stated = {key.removeprefix(prefix): value for key, value in profile("slurm").items() if key.startswith(prefix)}
    return ExecutorSettings(**{key.replace("-", "_"): value for key, value in stated.items()})


def test_a_site_says_what_is_its_own_in_the_environment(monkeypatch):
    assert profile("slurm")["default-resources"] == {"mem_mb": 4000, "runtime": 60}
    assert not {"slurm-packs-gres", "slurm-packs-array-jobs"} & profile("slurm").keys()
    site = {"ACCOUNT": "123", "PARTITION": "cpu", "GPU_PARTITION": "gpu", "GPU_MODEL": "a100", "QOS": "high"}
    site |= {"GRES": "1", "JOBS": "7", "ARRAYS": "all", "ENVIRONMENT": "/shared/environment.tar"}
    for name, value in site.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    monkeypatch.setenv("HRA_MPS", "1")
    slurm = profile("slurm")
    assert slurm["jobs"] == "7"
    # Snakemake evaluates them: 123 would be a number.
    assert slurm["default-resources"] | {"slurm_account": "'123'", "qos": "'high'"} == slurm["default-resources"]
    stated = {name: slurm[f"slurm-packs-{name}"] for name in ("partition", "gpu-partition", "gpu-model", "array-jobs")}
    assert stated == {"partition": "cpu", "gpu-partition": "gpu", "gpu-model": "a100", "array-jobs": "all"}
    assert slurm["slurm-packs-gres"] is slurm["slurm-packs-mps"] is True
    assert slurm["slurm-packs-environment"] == "/shared/environment.tar"
    executor_settings()


def test_stages_may_have_accounts_qos_and_gpus_of_their_own(monkeypatch):
    assert "slurm-packs-stages" not in profile("slurm")
    for name in ("ACCOUNT_TRAIN", "ACCOUNT_EVALUATE", "QOS_TRAIN", "GPU_MODEL_GENERATE"):
        monkeypatch.setenv(f"HRA_SLURM_{name}", name.lower())
    assert sorted(profile("slurm")["slurm-packs-stages"].split()) == [
        "evaluate:slurm_account=account_evaluate", "generate:gpu_model=gpu_model_generate", "train:qos=qos_train",
        "train:slurm_account=account_train",
    ]  # fmt: skip


def test_a_site_lists_its_gpu_models(monkeypatch):
    """The example of docs/cluster.md."""
    (listed,) = re.findall(r'HRA_SLURM_GPU_MODELS="(.*)"', (ROOT / "docs/cluster.md").read_text())
    monkeypatch.setenv("HRA_SLURM_GPU_MODELS", listed)
    assert executor_settings().memory_of_models() == {"l40s": 48000, "h100": 85000}
