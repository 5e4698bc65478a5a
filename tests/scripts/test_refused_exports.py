"""Runs that are outdated, edited or another's are not exported."""

from pathlib import Path

import pytest

import export_adapter
from hra_workflow.core import files, records
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
    evaluated = records.read(metrics)["made_by"]

    def refused(message: str, **changes) -> None:
        with pytest.raises(JobError, match=message):
            export_adapter.main(job | {name: job[name] | change for name, change in changes.items()})
        assert not (tmp_path / "hub").exists()

    rate = {"hyperparameters": record["hyperparameters"] | {"learning_rate": 0.9}}
    refused(r"learning_rate 0\.005, now 0\.9", params={"expected": {"asked": rate, "inputs": {}}})
    files.write_json("other.manifest.json", files.read_json(params["dataset"]) | {"sha256": "0" * 64})
    inputs = {"dataset": "other.manifest.json"}  # downloaded again, at another revision
    refused(r"inputs\.dataset .*, now 0000", params={"expected": {"asked": {}, "inputs": inputs}})
    split = {str(metrics): {"settings": evaluated["settings"] | {"split": "test"}}}
    refused(r"metrics.json: .* settings\.split null, now test", params={"metrics": split})
    refused("expected the record of .*/7, found that of .*/0, copied from there", wildcards={"seed": "7"})
    for path, change, message in (
        (metrics, (b": 0.", b": 0.9"), "expected the content that was written"),
        (Path("table_glue.md"), b"9", "table_glue.md: expected the content that was written"),
        (best.with_name("adapter_config.json"), b" ", "adapter_config.json: expected SHA-256"),
        (best, b" ", "safetensors: expected SHA-256"),
    ):
        before = Path(path).read_bytes()
        Path(path).write_bytes(before.replace(*change) if isinstance(change, tuple) else before + change)
        refused(message)
        Path(path).write_bytes(before)
    for path, message in (  # trained again and not evaluated since, or evaluated again and no table was built since
        (params["record"], "metrics.json: expected the results of the run as it is now"),
        (metrics, "table_glue.md: expected .*metrics.json as when this file was made from it"),
    ):
        before = Path(path).read_bytes()
        records.write(path, records.read(path) | {"seconds": 1.0})
        refused(message)
        Path(path).write_bytes(before)
    export_adapter.main(job)
    assert (tmp_path / "hub/table_glue.md").read_text() == "| the table |"
