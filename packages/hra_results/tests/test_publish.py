"""`hra-workflow publish`: exports are checked without a network, and uploaded only if a repository is named."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from safetensors.numpy import load_file, save_file

from hra_results import publish
from hra_workflow.commands.main import main
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from rule_jobs import maker
from support import DATASET, TINY_MODEL, Run, downloaded, method, write_sentences
from test_export_adapter import exported


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    """Return the folder of an export of a tiny classifier."""
    folder = tmp_path_factory.mktemp("export")
    write_sentences(folder / "raw")
    make_run = maker(Run, folder, downloaded(folder, TINY_MODEL, "glue/tiny", DATASET))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return exported(make_run(method("hra")), folder, {"model": {"license": "MIT"}}).absolute()


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


def test_a_run_is_uploaded_only_to_a_named_repository(export, capsys, calls):
    assert published(export) == 0
    said = capsys.readouterr().out
    for name in ("README.md", "adapter_model.safetensors", "lora/adapter_config.json", "train.json"):
        assert f"  {name}\n" in said
    assert "is valid, as a model. Nothing was uploaded" in said and "warning" not in said and not calls
    assert published(export, "--to", "me/hra-tiny") == 0
    (created, uploaded) = calls
    assert created == ("me/hra-tiny", {"private": True})
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("me/hra-tiny", export)


def test_what_the_hub_or_a_loader_refuses_is_an_error(export, tmp_path, capsys):
    folder = shutil.copytree(export, tmp_path / "copy")
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
