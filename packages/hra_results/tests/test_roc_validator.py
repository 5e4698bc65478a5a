"""The metadata of `hra-workflow archive` is valid: rocrate-validator's profile Workflow Run Crate."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from hra_results.archives import contents, crate
from others.from_github import checkout
from support import ROOT, require

COMMIT = "4b4f939c18022550ae0b992b7ddfb2cb5b2e8608"
# Recommended, but they would name a person, an organisation or a URL: the archive leaves them to its publisher.
NAMES = ("SHOULD have a url", "id SHOULD be an absolute URI", "SHOULD have an agent", "`author`", "`publisher`")
TABLES = {"csv": "results/table_glue.csv", "markdown": "results/table_glue.md"}
RUN = "results/glue/cola/hra/r8/seed 0"


def jobs() -> list[dict]:
    train = {"rule": "train_glue", "script": "workflow/scripts/train_glue.py", "inputs": ["resources/model.bin"]}
    train |= {"outputs": [f"{RUN}/train.json"], "params": {"method": {"r": 8}, "seed": 0}, "table": False}
    table = {"rule": "table", "script": None, "inputs": [f"{RUN}/train.json"], "outputs": [*TABLES.values()]}
    table |= {"params": {"columns": []}, "table": True}
    return [job | {"wildcards": {"task": "glue"}, "started": 1.8e9, "finished": 1.8e9 + 60} for job in (train, table)]


@pytest.fixture
def tool() -> Path:
    """The Python of the validator's environment."""
    python = ROOT / ".venv-roc-validator/bin/python"
    require(python.exists(), f"expected {python}: make .venv-roc-validator/.installed")
    return python


@pytest.fixture
def source(tmp_path) -> Path:
    """The folder of RO-Crate's specification: RO_CRATE_SOURCE, or from GitHub."""
    if folder := os.environ.get("RO_CRATE_SOURCE"):
        return Path(folder)
    try:
        checkout(tmp_path / "ro-crate", "ResearchObject/ro-crate", COMMIT, "docs/_specification/1.1")
    except subprocess.CalledProcessError:
        require(False, "expected ResearchObject/ro-crate from GitHub, or RO_CRATE_SOURCE=folder")
    return tmp_path / "ro-crate"


def failures(folder: Path, tool: Path, source: Path) -> list[str]:
    script, context = Path(__file__).with_name("validated_crates.py"), source / "docs/_specification/1.1/context.jsonld"
    done = subprocess.run([tool, script, context, folder], capture_output=True, text=True)
    *found, executed = done.stdout.splitlines() or [""]
    assert int(re.fullmatch(r"checks: (\d+)", executed)[1]) > 100, done.stderr
    return found


@pytest.mark.full
def test_the_metadata_is_valid_and_a_missing_part_is_found(tool, source, tmp_path):
    about = {"project": {"version": "0.2.0", "commit": "d" * 40}, "jobs": [{"output": TABLES}]}
    names = [*TABLES.values(), f"{RUN}/train.json", "workflow/scripts/train_glue.py", "Snakefile"]
    names += [contents.README, contents.CONFIG, contents.ABOUT, contents.LIST]
    metadata = crate.describe("glue", about, jobs(), names, "Snakefile", "2026-12-01T10:00:00Z")
    folder = tmp_path / "archive"
    contents.write_folder(folder, dict.fromkeys(names, b"") | {contents.CRATE: json.dumps(metadata).encode()})
    found = failures(folder, tool, source)
    assert [one for one in found if one.startswith("REQUIRED") or not any(name in one for name in NAMES)] == []

    next(entity for entity in metadata["@graph"] if entity["@id"] == "#run").pop("instrument")
    (folder / contents.CRATE).write_text(json.dumps(metadata))
    found = failures(folder, tool, source)
    assert any("REQUIRED" in one and "#run" in one and "instrument" in one for one in found), found
