"""Runs that are outdated, edited or another's are not exported, and no DoRA for ComfyUI."""

from pathlib import Path

import pytest

import export_adapter
from hra_workflow.core import records
from hra_workflow.core.errors import JobError
from support import method
from test_export_adapter import exporting


def test_a_run_that_is_outdated_or_edited_is_not_exported(make_run, tmp_path, monkeypatch):
    """Check that no number or weight is exported that is not of the run that the config specifies."""
    monkeypatch.chdir(tmp_path)
    job = exporting(make_run(method("lora")), tmp_path, {})
    params, best = job["params"], Path(job["params"]["adapter"])
    record = records.read(params["record"])
    (metrics,) = map(Path, params["metrics"])
    evaluated = records.read(metrics)["made_from"]

    def refused(message: str, **changes) -> None:
        with pytest.raises(JobError, match=message):
            export_adapter.main(job | {name: job[name] | change for name, change in changes.items()})
        assert not (tmp_path / "hub").exists()

    rate = {"hyperparameters": record["hyperparameters"] | {"learning_rate": 0.9}}
    refused(
        r"learning_rate 0\.005, now 0\.9", params={"expected": {"settings": record["made_from"]["settings"] | rate}}
    )
    split = {str(metrics): {"settings": evaluated["settings"] | {"split": "test"}}}
    refused(r"metrics.json: .* split null, now test", params={"metrics": split})
    refused(r"result .*/0, now .*/7", wildcards={"seed": "7"})
    for path in (best.with_name("adapter_config.json"), best):
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        refused(f"{path.name}: expected SHA-256")
        path.write_bytes(before)
    records.write(params["record"], record | {"seconds": 1.0})  # trained again and not evaluated since
    refused(r"metrics.json: .* inputs\.\S+train.json")
