"""`make publish`: exported folders are checked without a network, and uploaded only if a repository is named."""

import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
from safetensors.numpy import load_file, save_file

import export_runs
import publish
from glue_tables import collect, grid
from hra_workflow.core import records, seals
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from rule_jobs import build
from support import method
from test_export_adapter import exported


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Record what would be sent to the Hub."""
    found: list[str] = []
    hub = huggingface_hub.HfApi
    monkeypatch.setattr(hub, "repo_exists", lambda self, repository, **_: False)
    monkeypatch.setattr(hub, "create_repo", lambda self, repository, **options: found.append((repository, options)))
    monkeypatch.setattr(hub, "upload_folder", lambda self, **options: found.append(options) or "https://the-hub")
    return found


def published(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["publish.py", *map(str, arguments)])
    publish.main()


@pytest.fixture
def runs(tmp_path) -> Path:
    """Export all runs of a table, one of which failed."""
    expected = grid(tmp_path, runs=("hra/r8", "lora/r8"))
    collect(tmp_path, expected, expected[:-1], incomplete=True)
    text = "| run | CoLA |\n\n- **Rows that are trained on** are in CoLA: 3 of 9 rows.\n"
    seals.write(tmp_path / "table_glue.md", text, [tmp_path / "runs_glue.csv"])
    params = {"runs": str(tmp_path / "runs_glue.csv"), "table": str(tmp_path / "table_glue.md")}
    output = {"card": tmp_path / "published/runs_glue/README.md"}
    export_runs.main(build("export_runs", tmp_path, {"task": "glue"}, {}, output, params, {}))
    return tmp_path / "published/runs_glue"


def test_all_runs_of_a_table_load_with_datasets(runs, tmp_path, monkeypatch, capsys, calls):
    from datasets import load_dataset

    from hra_workflow.report.run_statistics import read_csv

    loaded = load_dataset(str(runs), split="train", cache_dir=str(tmp_path / "cache"))
    csv = read_csv(tmp_path / "runs_glue.csv")
    assert loaded.column_names == list(csv.columns) and len(loaded) == len(csv)
    for name, read in {"seed": int, "value": float, "dirty": "true".__eq__, "error": str}.items():
        assert loaded[name][:] == [read(cell) if cell else None for cell in csv[name]], name
    assert loaded.features["value"].dtype == "float64" and loaded[-1]["status"] == "missing"
    card = huggingface_hub.DatasetCard.load(runs / "README.md")
    assert "| run | CoLA |" in card.text and "| `stderr` | double |" in card.text
    published(monkeypatch, runs)
    said = capsys.readouterr().out
    assert "warning: **Rows that are trained on** are in CoLA: 3 of 9 rows.\n" in said
    assert card.text.index("> **Rows that are trained on** are in CoLA") < card.text.index("load_dataset(")
    assert "is valid, as a dataset. Nothing was uploaded" in said and "states no licence" in said and not calls


def test_a_run_is_uploaded_only_to_a_named_repository(make_run, tmp_path, monkeypatch, capsys, calls):
    monkeypatch.chdir(tmp_path)
    folder = exported(make_run(method("hra")), tmp_path, {"model": {"license": "MIT"}})
    capsys.readouterr()
    published(monkeypatch, folder)
    said = capsys.readouterr().out
    for name in ("README.md", "adapter_model.safetensors", "lora/adapter_config.json", "table_glue.md", "train.json"):
        assert f"  {name}\n" in said
    assert "warning" not in said and not calls
    published(monkeypatch, folder, "me/hra-tiny")
    (created, uploaded) = calls
    assert created == ("me/hra-tiny", {"repo_type": "model", "private": True})
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("me/hra-tiny", folder)


def test_what_the_hub_or_a_loader_refuses_is_an_error(make_run, tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    folder = exported(make_run(method("lora")), tmp_path, {})
    weights = load_file(folder / adapters.WEIGHTS)
    save_file({name: value + 1 for name, value in weights.items()}, folder / adapters.WEIGHTS)
    with pytest.raises(JobError, match=r"safetensors as when this file was made from it"):
        publish.check(folder)
    card = folder / "README.md"
    seals.write(card, card.read_text().replace("library_name: peft", "library_name: [peft"), [])
    with pytest.raises(JobError, match="found an invalid one"):
        publish.check(folder)
    seals.write(runs / "README.md", (runs / "README.md").read_text(), [])
    shutil.copy(folder / "train.json", runs / "runs.parquet")
    with pytest.raises(JobError, match="found an invalid one"):
        publish.check(runs)


def test_an_export_that_was_edited_or_is_older_than_its_run_is_not_published(runs, tmp_path, monkeypatch, calls):
    record = next(tmp_path.glob("glue/**/train.json"))
    for path, message in (
        (runs / "README.md", "README.md: expected the content that was written"),
        (runs / "runs.parquet", "runs.parquet as when this file was made from it"),
        (tmp_path / "table_glue.md", "table_glue.md: expected the content that was written"),
        (record, "runs_glue.csv: expected .*train.json as when this file was made from it"),  # trained again
    ):
        before = path.read_bytes()
        if path == record:
            records.write(record, records.read(record) | {"seconds": 1.0})
        else:
            path.write_bytes(before + b"9")
        with pytest.raises(SystemExit, match=message):
            published(monkeypatch, runs, "me/runs")
        path.write_bytes(before)
    assert not calls
    published(monkeypatch, runs, "me/runs")
    assert calls[-1]["ignore_patterns"] == [".README.md.sha256"]
