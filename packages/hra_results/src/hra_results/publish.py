"""Check an exported adapter without network access, list its files, and upload it if a repository is named.

It checks that the weights are those of the exported record.
"""

import re
from pathlib import Path

from hra_results import eval_results
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError, expect
from hra_workflow.models import adapters

CARD = "README.md"
SHOWN = "The model card: "  # the start of a line that `hra-workflow export` prints
REPOSITORY = r"[\w.-]+/[\w.-]+"


def check(folder: Path) -> None:
    """Raise JobError if the Hub or a loader would refuse an adapter."""
    expect((folder / CARD).is_file(), f"{folder}: expected an export with a {CARD}, found none. Correct the path.")
    try:
        warn_of_card(folder)
        check_adapter(folder)
        eval_results.read(folder)
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
    """Check that the weights are those of the run's record, and that PEFT reads the adapter."""
    import peft
    from safetensors import safe_open

    record, weights = folder / records.OF_RUN, folder / adapters.WEIGHTS
    expect(
        files.sha256(weights) in records.read(record)["weights_sha256"].values(),
        f"{weights}: expected weights with a SHA-256 of {record}, found others. Export the run again.",
    )
    adapters.install()
    for place in (folder, folder / "lora"):
        if place == folder or place.exists():
            peft.PeftConfig.from_pretrained(str(place))
            with safe_open(place / adapters.WEIGHTS, "numpy") as weights:
                expect(bool(weights.keys()), f"{place / adapters.WEIGHTS}: expected weights, found an empty file.")


def upload(folder: Path, repository: str) -> str:
    """Upload the folder and return its URL. If the repository does not exist, create a private one."""
    from huggingface_hub import HfApi

    api = HfApi()
    if not api.repo_exists(repository):
        api.create_repo(repository, private=True)
    return str(api.upload_folder(repo_id=repository, folder_path=folder))


def check_name(repository: str | None) -> None:
    expect(
        not repository or bool(re.fullmatch(REPOSITORY, repository)),
        f"--to {repository}: expected NAME/REPOSITORY. Correct it.",
    )


def folder_of(lines: list[str]) -> Path:
    """Return the folder of the model card that `hra-workflow export` prints."""
    (card,) = [line.removeprefix(SHOWN).strip() for line in lines if line.startswith(SHOWN)]
    return Path(card).parent


def run(folder: Path, to: str | None, of_run: Path | None = None) -> int:
    """Check an export, list its files, and upload it to a repository; raise JobError if it is changed or invalid.

    of_run: the folder of the run, from whose metrics the evaluation results are written.
    """
    check(folder)
    if of_run:
        eval_results.write(folder, of_run)
    if to:
        eval_results.name_source(folder, to)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:12,}  {path.relative_to(folder)}")
    if to:
        print(f"Uploaded: {upload(folder, to)}")
    else:
        print(f"{folder} is valid, as a model. Nothing was uploaded: add --to NAME/REPOSITORY to upload it.")
    return 0
