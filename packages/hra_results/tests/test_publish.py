"""`hra-workflow publish`: exports are checked without a network, and uploaded only if a repository is named."""

from pathlib import Path

import huggingface_hub
import pytest
from safetensors.numpy import load_file, save_file

from hra_results import publish
from hra_workflow.commands.main import main
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from support import method
from test_export_adapter import exported


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Record what would be sent to the Hub."""
    found: list[str] = []
    hub = huggingface_hub.HfApi
    monkeypatch.setattr(hub, "repo_exists", lambda self, repository: False)
    monkeypatch.setattr(hub, "create_repo", lambda self, repository, **options: found.append((repository, options)))
    monkeypatch.setattr(hub, "upload_folder", lambda self, **options: found.append(options) or "https://the-hub")
    return found


def published(*arguments) -> int:
    return main(["publish", *map(str, arguments)])


def test_a_run_is_uploaded_only_to_a_named_repository(make_run, tmp_path, monkeypatch, capsys, calls):
    monkeypatch.chdir(tmp_path)
    folder = exported(make_run(method("hra")), tmp_path, {"model": {"license": "MIT"}})
    capsys.readouterr()
    assert published(folder) == 0
    said = capsys.readouterr().out
    for name in ("README.md", "adapter_model.safetensors", "lora/adapter_config.json", "train.json"):
        assert f"  {name}\n" in said
    assert "is valid, as a model. Nothing was uploaded" in said and "warning" not in said and not calls
    assert published(folder, "--to", "hra-tiny") == 2 and not calls
    assert "--to hra-tiny: expected NAME/REPOSITORY" in capsys.readouterr().err
    assert published(folder, "--to", "me/hra-tiny") == 0
    (created, uploaded) = calls
    assert created == ("me/hra-tiny", {"private": True})
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("me/hra-tiny", folder)


def test_what_the_hub_or_a_loader_refuses_is_an_error(make_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = exported(make_run(method("lora")), tmp_path, {})
    weights, before = folder / adapters.WEIGHTS, (folder / adapters.WEIGHTS).read_bytes()
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    with pytest.raises(JobError, match=r"safetensors: expected weights with a SHA-256 of .*train\.json, found others"):
        publish.check(folder)
    weights.write_bytes(before)
    card = folder / "README.md"
    text = card.read_text().replace("\nlicense: mit", "").replace("# ", "> [!WARNING]\n> 3 of 9 rows are known.\n# ", 1)
    files.write_text(card, text)
    publish.check(folder)
    assert "warning: 3 of 9 rows are known.\nwarning: README.md states no licence." in capsys.readouterr().out
    files.write_text(card, card.read_text().replace("library_name: peft", "library_name: [peft"))
    with pytest.raises(JobError, match="found an invalid one"):
        publish.check(folder)
    with pytest.raises(JobError, match=r"none: expected an export with a README\.md, found none"):
        publish.check(Path("none"))
