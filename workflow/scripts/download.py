"""Download a model or a dataset: write its files to a folder, then the manifest next to it.

    X.manifest.json    the downloaded files with size and SHA-256 (workflow/schemas/manifest.schema.json)
    X/                 the files; for a dataset one {split}.parquet with text columns and `label`, for a subject its
                       images, for a control dataset its verified archives

It is the script of the rules `download_model`, `download_dataset` and `download_archive`. The params are name, license,
source, local_root, contents (the digest of user files that were edited after an earlier download, which is only
recorded), and for a dataset `dataset`, its config entry. The input of a source of kind archive is the manifest of its
archive. Partial downloads are in `.X.HASH.download/` (HASH: of the source), so that a second run
resumes and never mixes two sources; local files are read from the beginning. A dataset's raw files are deleted after
conversion; the manifest keeps their hashes.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

from hra_workflow import tasks
from hra_workflow.core import files, lock
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.data import file_filters, finished_downloads, sources
from hra_workflow.data.http_download import out_of_space
from hra_workflow.data.sources import Source, local
from hra_workflow.models import pretrained


@script
def main(job: dict) -> None:
    try:
        with lock.held(folder_of(job["output"]["manifest"])):
            make(job)
    except JobError as problem:
        problem.args = (in_place(str(problem), job),)
        raise


def in_place(text: str, job: dict) -> str:
    """Name the user's folder in an error about the files of a local source, which are links in a staging folder."""
    source = source_of(job["params"])
    if not source.own or not source.place.is_dir():
        return text
    text = text.replace(str(staging_of(Path(job["output"]["manifest"]), source.entry) / "raw"), str(source.place))
    return local.located(text, source.place)


def source_of(params: dict) -> Source:
    return sources.of(params["source"], params.get("local_root"))


def staging_of(manifest: Path, source: dict) -> Path:
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
    return manifest.with_name(f".{folder_of(manifest).name}.{digest}.download")


def make(job: dict) -> None:
    params, manifest = job["params"], Path(job["output"]["manifest"])
    name, stated, dataset = params["name"], params["source"], params.get("dataset")
    source = source_of(params)
    folder = folder_of(manifest)
    staging = staging_of(manifest, stated)
    raw, converted = staging / "raw", staging / "converted"

    print(f"{name}: {stated['kind']} source, to {folder}", file=sys.stderr)
    refuse_unwanted(name, stated, dataset)
    # Delete the old manifest first: a folder without a manifest is not used.
    manifest.unlink(missing_ok=True)
    with out_of_space(manifest.parent):
        if not source.remote:
            shutil.rmtree(raw, ignore_errors=True)  # the user's files may have changed since an interrupted call
        raw.mkdir(parents=True, exist_ok=True)
        archive = job["input"].get("archive")
        paths = source.user_files(dataset)
        user_files = local.describe_files(paths, {})
        revision = source.fetch(raw, dataset, folder_of(archive) / sources.ARCHIVE if archive else None)
        fetched = local.plain(user_files) if source.own else sources.list_files(raw)
        record = {
            "name": name,
            "source": stated,
            "revision": revision,
            "folder": folder.name,
        }
        record |= {"license": params["license"]} if params.get("license") else {}
        record |= {"dataset": dataset} if dataset else {}
        shutil.rmtree(converted, ignore_errors=True)
        converted.mkdir()
        rows = convert(job, raw, converted, paths)
        made = sources.list_files(converted)
        record |= {"files": made, "raw": fetched} if made else {"files": fetched}
        record |= {"rows": rows} if rows else {}
        again = local.describe_files(source.user_files(dataset), user_files)
        if local.hashes(again) != local.hashes(user_files):
            raise JobError(f"{name}: a file in {source.place} changed while it was read. Run again.")
        record |= {"own": again} if user_files else {}
        record |= {"contents": params["contents"]} if params.get("contents") else {}
        hashes = {path: entry["sha256"] for path, entry in record["files"].items()}
        files.replace_folder(converted if "raw" in record else raw, folder)
        record["sha256"] = files.sha256_of_listing(hashes)
        files.write_json(finished_downloads.copy_of(manifest), record)
        files.write_json(manifest, record)
    for old in manifest.parent.glob(f".{folder.name}.{'[0-9a-f]' * 12}.download"):
        shutil.rmtree(old, ignore_errors=True)
    size = sum(entry["bytes"] for entry in record["files"].values())
    counts = ", ".join(f"{split} {count:,}" for split, count in record.get("rows", {}).items())
    print(f"{name}: {len(hashes)} files, {size / 1e6:.1f} MB{counts and f'; rows: {counts}'}", file=sys.stderr)


def folder_of(manifest: str | Path) -> Path:
    return Path(str(manifest).removesuffix(".manifest.json"))


def convert(job: dict, raw: Path, converted: Path, user_files: dict[str, Path]) -> dict[str, int]:
    """Check the files in `raw`; write those of another format to `converted`; return the rows of a dataset by split."""
    name, dataset, task = job["params"]["name"], job["params"].get("dataset"), job["wildcards"].get("task")
    if task:
        return tasks.classes()[task].convert(name, dataset, raw, converted, user_files)
    if dataset:  # an archive that several datasets unpack
        from hra_workflow.data import zip_archives

        zip_archives.check_all(raw)
    elif (raw / "unet/config.json").exists() and not (raw / pretrained.MARK).exists():
        from hra_workflow.models import ldm_checkpoint

        ldm_checkpoint.convert(raw, converted)
    return {}


def refuse_unwanted(name: str, source: dict, dataset: dict | None) -> None:
    """Check before the download that every listed file of a model is usable."""
    listed = source.get("files", ())
    if not dataset and (refused := [path for path in listed if not file_filters.is_model_file(path)]):
        raise JobError(
            f"{name}: expected only model files ({' '.join(sorted(file_filters.MODEL_FILES))}), found "
            f"{', '.join(refused)}. Other files may contain code; remove them from the config."
        )


if __name__ == "__main__":
    main()
