"""Check an exported adapter without network access, list its files, and upload it if a repository is named.

    python -m hra_results publish results/glue/cola/hra/r8/seed0/hub/best [--to NAME/REPOSITORY]

It checks that the folder, the run, its results and its tables have not changed since the export.
"""

import argparse
import re
from pathlib import Path

from hra_workflow.core import seals
from hra_workflow.core.errors import JobError, expect
from hra_workflow.models import adapters

CARD = "README.md"
REPOSITORY = r"[\w.-]+/[\w.-]+"


def check(folder: Path) -> None:
    """Raise JobError if the Hub or a loader would refuse an adapter."""
    expect((folder / CARD).is_file(), f"{folder}: expected an export with a {CARD}, found none. Correct the path.")
    seals.read(folder / CARD)
    try:
        warn_of_card(folder)
        check_adapter(folder)
    except JobError:
        raise
    except Exception as problem:  # each format raises different errors
        raise JobError(
            f"{folder}: expected a folder of `hra-workflow export`, found an invalid one: {problem}"
        ) from problem


def warn_of_card(folder: Path) -> None:
    """Read the card's metadata (ValueError if invalid); print missing entries and the card's warnings."""
    from huggingface_hub import ModelCardData, RepoCard

    card = RepoCard.load(folder / CARD, ignore_metadata_errors=False)
    for line in re.findall(r"^> (?!\[!)(.+)$", card.text, re.MULTILINE):
        print(f"warning: {line}")
    if not ModelCardData(**card.data.to_dict()).license:
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


def upload(folder: Path, repository: str) -> str:
    """Upload the folder and return its URL. If the repository does not exist, create a private one."""
    from huggingface_hub import HfApi

    api, seal = HfApi(), seals.seal_of(folder / CARD).name
    if not api.repo_exists(repository):
        api.create_repo(repository, private=True)
    return str(api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=[seal]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder of an export, such as RUN/hub/best")
    parser.add_argument("--to", metavar="NAME/REPOSITORY", help="repository on the Hub; default: nothing is uploaded")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; raise JobError for an export that was changed or is invalid."""
    folder, to = arguments.folder, arguments.to
    expect(not to or bool(re.fullmatch(REPOSITORY, to)), f"TO={to}: expected NAME/REPOSITORY. Correct it.")
    check(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != seals.seal_of(folder / CARD):
            print(f"{path.stat().st_size:12,}  {path.relative_to(folder)}")
    if to:
        print(f"Uploaded: {upload(folder, to)}")
    else:
        print(f"{folder} is valid, as a model. Nothing was uploaded: add TO=NAME/REPOSITORY to upload it.")
    return 0
