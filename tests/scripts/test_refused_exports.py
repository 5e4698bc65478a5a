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
    evaluated = records.read(metrics)["made_from"]

    def refused(message: str, **changes) -> None:
        with pytest.raises(JobError, match=message):
            export_adapter.main(job | {name: job[name] | change for name, change in changes.items()})
        assert not (tmp_path / "hub").exists()

    rate = {"hyperparameters": record["hyperparameters"] | {"learning_rate": 0.9}}
    refused(
        r"learning_rate 0\.005, now 0\.9", params={"expected": {"settings": record["made_from"]["settings"] | rate}}
    )
    data = next(Path(path) for path in record["made_from"]["inputs"] if path.endswith("dataset.manifest.json"))
    # downloaded again, at another revision
    before = data.read_text()
    files.write_json(data, files.read_json(data) | {"sha256": "0" * 64})
    refused(r"inputs\.\S+ .*, now 0000")
    data.write_text(before)
    split = {str(metrics): {"settings": evaluated["settings"] | {"split": "test"}}}
    refused(r"metrics.json: .* split null, now test", params={"metrics": split})
    refused(r"result .*/0, now .*/7", wildcards={"seed": "7"})
    for path, change, message in (
        (metrics, (b": 0.", b": 0.9"), "expected the content that was written"),
        (best.with_name("adapter_config.json"), b" ", "adapter_config.json: expected SHA-256"),
        (best, b" ", "safetensors: expected SHA-256"),
    ):
        before = Path(path).read_bytes()
        Path(path).write_bytes(before.replace(*change) if isinstance(change, tuple) else before + change)
        refused(message)
        Path(path).write_bytes(before)
    before = Path(params["record"]).read_bytes()  # trained again and not evaluated since
    records.write(params["record"], records.read(params["record"]) | {"seconds": 1.0})
    refused(r"metrics.json: .* inputs\.\S+train.json")
    Path(params["record"]).write_bytes(before)
    export_adapter.main(job)
    assert (tmp_path / "hub/table_glue.md").read_text() == "| the table |"
