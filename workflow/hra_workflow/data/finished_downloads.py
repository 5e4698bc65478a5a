"""The source of a download job: the config's, or for a finished download the source that it was made from.

Snakemake repeats a job whose params have changed, and everything after it. A hash or a commit that was added to the
config changes no file, so a finished download keeps its params as long as the config describes the same files.
The user's own files are not among the job's inputs, of which Snakemake compares only the times: if their contents
differ from those in the manifest, the param `contents` becomes their digest. Imported by the Snakefile on login nodes.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect
from hra_workflow.data import sources
from hra_workflow.data.sources import local


def planned_params(source: dict, manifest: str | Path | None, paths: Mapping[str, Path] = {}) -> dict:
    """Return `source` and `contents` of the job that writes `manifest`. None: as if the manifest did not exist.

    paths: the user's files that the job reads. If the manifest lists the same files, also return `paths`, and `own`,
    their listing.
    """
    now = {"source": source, "contents": None}
    try:
        done = files.read_json(last(manifest)) if manifest else {}
        if not describes(source, done):
            return now
        known = done["own"] if paths else {}
        before = {"source": done["source"], "contents": done.get("contents")}
    except (FileNotFoundError, JobError, KeyError, TypeError, AttributeError):
        return now  # missing, or not a manifest: the job writes it
    user_files = local.describe_files(paths, known)
    if local.hashes(user_files) == local.hashes(known):
        return before | ({"paths": paths, "own": user_files} if paths else {})
    return now | {"contents": files.sha256_of_listing(local.hashes(user_files))}


def last(manifest: str | Path) -> Path:
    """Return a manifest, or its copy after a download that was killed: Snakemake had deleted the manifest.

    The copy keeps the identity of the download before. It is deleted with the folder.
    """
    return path if (path := Path(manifest)).exists() else copy_of(path)


def copy_of(manifest: Path) -> Path:
    return manifest.with_name(f".{manifest.name.removesuffix('.manifest.json')}.last.json")


def check_shared(planned: dict, dataset: dict | None, manifest: str | Path, paths: Mapping[str, Path]) -> None:
    """Raise JobError if a manifest that this project has not written lists other files than the config describes.

    Another project that shares the folder uses the name for something else. dataset: its entry as the download gets it.
    paths: the user's files that the job reads.
    """
    try:
        done = files.read_json(manifest)
        found = done["source"]
        same = (planned["source"], planned["contents"]) == (found, done.get("contents"))
        if not same and sources.of(planned["source"]).own and sources.of(found).own:
            same = local.hashes(local.describe_files(paths, done["own"])) == local.hashes(done["own"])
        same = same and done.get("dataset", dataset) == dataset
    except (FileNotFoundError, JobError, KeyError, TypeError, AttributeError):
        return  # missing, or not a manifest
    expect(
        same,
        f"{manifest}: expected what the config describes, of {planned['source']}, found another download, of {found}, "
        "which this project has not made. Give yours another name, or the project other resources (`pathvars`); if no "
        "other project uses the file, delete it",
    )


def update_manifest(manifest: Path, paths: Mapping[str, Path], user_files: dict) -> None:
    record = files.read_json(manifest)
    for name, path in paths.items():
        link = manifest.parent / record["folder"] / name
        if link.is_symlink() and link.readlink() != path:
            with files.replacing(link) as temporary:
                temporary.symlink_to(path)
    if record["own"] != user_files:
        stat = manifest.stat()
        files.write_json(manifest, record | {"own": user_files})
        os.utime(manifest, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def describes(source: dict, manifest: dict) -> bool:
    """Return whether a source describes the files of a manifest: all by their hashes, or by the same origin."""
    before = manifest["source"]
    if source == before:
        return True
    found = manifest.get("raw") or manifest["files"]
    now, then, commit = sources.of(source), sources.of(before), manifest.get("revision")
    if not now.lists_files or source["files"].keys() != found.keys():
        return False
    return all(
        found[name]["sha256"].startswith(sha256) if sha256 else now.origin(name) == then.origin(name, commit)
        for name, sha256 in hashes(source).items()
    )


def hashes(source: dict) -> dict[str, str | None]:
    stated = source["files"].items()
    return {name: entry["sha256"] if isinstance(entry, dict) else entry for name, entry in stated}
