"""The metadata of `make archive` is valid: rocrate-validator's profile Workflow Run Crate."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from hra_results.archives import contents, crate

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


def failures(folder: Path, tool: Path, sources) -> list[str]:
    source = sources("RO_CRATE", "ResearchObject/ro-crate", COMMIT, "docs/_specification/1.1")
    script, context = Path(__file__).with_name("validated_crates.py"), source / "docs/_specification/1.1/context.jsonld"
    done = subprocess.run([tool, script, context, folder], capture_output=True, text=True)
    *found, executed = done.stdout.splitlines() or [""]
    assert int(re.fullmatch(r"checks: (\d+)", executed)[1]) > 100, done.stderr
    return found


@pytest.mark.full
@pytest.mark.parametrize("tool", ["roc-validator"], indirect=True)
def test_the_metadata_is_valid_and_a_missing_part_is_found(tool, sources, tmp_path):
    about = {"project": {"version": "0.2.0", "commit": "d" * 40}, "jobs": [{"output": TABLES}]}
    names = [*TABLES.values(), f"{RUN}/train.json", "workflow/scripts/train_glue.py", "Snakefile"]
    names += [contents.README, contents.CONFIG, contents.ABOUT, contents.LIST]
    metadata = crate.describe("glue", about, jobs(), names, "Snakefile", "2026-12-01T10:00:00Z")
    contents.write_folder(tmp_path, dict.fromkeys(names, b"") | {contents.CRATE: json.dumps(metadata).encode()})
    found = failures(tmp_path, tool, sources)
    assert [one for one in found if one.startswith("REQUIRED") or not any(name in one for name in NAMES)] == []

    next(entity for entity in metadata["@graph"] if entity["@id"] == "#run").pop("instrument")
    (tmp_path / contents.CRATE).write_text(json.dumps(metadata))
    found = failures(tmp_path, tool, sources)
    assert any("REQUIRED" in one and "#run" in one and "instrument" in one for one in found), found
