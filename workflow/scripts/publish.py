"""Check an exported folder without network access, list its files, and upload it if a repository is named.

The folder is an adapter (export_adapter.py) or the runs of a table (export_runs.py). The script checks that it, the
run, its results and its tables have not changed since the export. `make publish` calls it.
"""

import argparse
import re
from pathlib import Path

from hra_workflow.core import seals
from hra_workflow.core.errors import JobError, expect
from hra_workflow.models import adapters

CARD, RUNS = "README.md", "runs.parquet"


def check(folder: Path) -> str:
    """Return the type of repository, model or dataset; raise JobError if the Hub or a loader would refuse it."""
    kind = "dataset" if (folder / RUNS).exists() else "model"
    seals.read(folder / CARD)
    try:
        warn_of_card(folder, kind)
        check_runs(folder) if kind == "dataset" else check_adapter(folder)
    except JobError:
        raise
    except Exception as problem:  # each format raises different errors
        raise JobError(f"{folder}: expected a folder of `make publish`, found an invalid one: {problem}") from problem
    return kind


def warn_of_card(folder: Path, kind: str) -> None:
    """Read the card's metadata (ValueError if invalid); print missing entries and the card's warnings."""
    from huggingface_hub import DatasetCardData, ModelCardData, RepoCard

    card = RepoCard.load(folder / CARD, ignore_metadata_errors=False)
    for line in re.findall(r"^> (?!\[!)(.+)$", card.text, re.MULTILINE):
        print(f"warning: {line}")
    content = card.data.to_dict()
    data = (DatasetCardData if kind == "dataset" else ModelCardData)(**content)
    if not data.license:
        print("warning: README.md states no licence. Add it to the config and repeat, or state it on the Hub.")


def check_adapter(folder: Path) -> None:
    """Check that PEFT reads the adapter."""
    import peft
    from safetensors import safe_open

    adapters.install()
    for place in (folder, folder / "lora"):
        if place == folder or place.exists():
            peft.PeftConfig.from_pretrained(str(place))
            with safe_open(place / adapters.WEIGHTS, "numpy") as weights:
                expect(bool(weights.keys()), f"{place / adapters.WEIGHTS}: expected weights, found an empty file.")


def check_runs(folder: Path) -> None:
    """Check that the run table has the types of its columns."""
    import pyarrow.parquet as pq

    from hra_workflow.report.run_columns import COLUMNS

    found = {field.name: str(field.type) for field in pq.read_schema(folder / RUNS)}
    for name, (kind, _) in COLUMNS.items():
        expect(
            found.get(name) == kind,
            f"{folder / RUNS}: {name}: expected {kind}, found {found.get(name, 'no such column')}. Export it again.",
        )


def upload(folder: Path, kind: str, repository: str) -> str:
    """Upload the folder and return its URL. If the repository does not exist, create a private one."""
    from huggingface_hub import HfApi

    api, seal = HfApi(), seals.seal_of(folder / CARD).name
    if not api.repo_exists(repository, repo_type=kind):
        api.create_repo(repository, repo_type=kind, private=True)
    return str(api.upload_folder(repo_id=repository, repo_type=kind, folder_path=folder, ignore_patterns=[seal]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("to", nargs="?", metavar="NAME/REPOSITORY")
    arguments = parser.parse_args()
    try:
        kind = check(arguments.folder)
    except JobError as problem:
        raise SystemExit(str(problem)) from None
    for path in sorted(arguments.folder.rglob("*")):
        if path.is_file() and path != seals.seal_of(arguments.folder / CARD):
            print(f"{path.stat().st_size:12,}  {path.relative_to(arguments.folder)}")
    if arguments.to:
        print(f"Uploaded: {upload(arguments.folder, kind, arguments.to)}")
    else:
        print(f"{arguments.folder} is valid, as a {kind}. Nothing was uploaded: add TO=NAME/REPOSITORY to upload it.")


if __name__ == "__main__":
    main()
