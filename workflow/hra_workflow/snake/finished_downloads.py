"""What a download job downloads: the config's source, or for a finished download the one it was made from.

Snakemake repeats a job whose params have changed, and everything after it. A hash, a commit or a mirror that was added
to the config changes no file, so a finished download keeps its params as long as the config describes the same files.
The user's own files are not among the job's inputs, of which Snakemake compares only the times: if their contents
differ from those in the manifest, the param `contents` becomes their digest.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import own_files, sources


class Downloads:
    """Input and params of the download rules. `tasks`: the tasks by name."""

    def __init__(self, config: dict, workflow, tasks: Mapping):
        self.config, self.workflow, self.tasks = config, workflow, tasks
        self.resources = config["pathvars"]["resources"]
        self.known: dict[str, dict] = {}  # per manifest: a retry of the job, which has deleted it, gets the same params

    def planned(self, wildcards) -> dict:
        manifest, source, dataset = self.entry(dict(wildcards.items()))
        if manifest not in self.known:
            # A forced job takes the config's source: Snakemake deletes the manifest before it runs the job.
            settings = self.workflow.dag_settings  # known after the Snakefile is read
            forced = settings.forceall or any(rule.startswith("download") for rule in settings.forcerun)
            try:
                own = own_files.paths(source, self.config["local_root"], dataset)
            except JobError:
                if self.config["preflight"] != "login":  # which lists it with whatever else is wrong
                    raise
                own = {}
            self.known[manifest] = planned(source, self.config["mirror"], None if forced else manifest, own)
        return self.known[manifest]

    def entry(self, named: dict[str, str]) -> tuple[str, dict, dict | None]:
        """Return the manifest of a download, its source, and for a dataset what the job gets of its entry."""
        if "model" in named:
            place, source, dataset = f"models/{named['model']}", self.config["models"][named["model"]]["source"], None
        elif "address" in named:
            place, source, dataset = f"archives/{named['address']}", sources.archive(named["address"]), None
        else:
            task, name = named["task"], named["dataset"]
            place, source = f"datasets/{task}/{name}", self.config["datasets"][task][name]["source"]
            dataset = self.tasks[task].download(name)
        return f"{self.resources}/{place}.manifest.json", source, dataset

    def source(self, wildcards) -> dict:
        return self.planned(wildcards)["source"]

    def mirror(self, wildcards) -> str | None:
        return self.planned(wildcards)["mirror"]

    def contents(self, wildcards) -> str | None:
        return self.planned(wildcards)["contents"]

    def archive(self, wildcards) -> str | list:
        """Return the manifest of the archive that the source unpacks, or []."""
        source = self.source(wildcards)
        archived = source["kind"] == "archive"
        return f"{self.resources}/archives/{sources.address(source['url'])}.manifest.json" if archived else []

    def settle(self) -> None:
        """Before the first job: update links to the user's files, and what their manifests note of them.

        Both are outdated after the files have been moved or copied, or touched. The manifests keep their times.
        """
        for manifest, one in self.known.items():
            if one.get("own"):
                settle(Path(manifest), one["paths"], one["own"])


def planned(source: dict, mirror: str | None, manifest: str | Path | None, paths: Mapping[str, Path] = {}) -> dict:
    """Return `source`, `mirror` and `contents` of the job that writes `manifest`; None: as if it did not exist.

    paths: the user's files that the job reads. If they are those of the manifest, also `paths`, and `own`: a listing.
    """
    now = {"source": source, "mirror": mirror, "contents": None}
    try:
        done = files.read_json(manifest) if manifest else {}
        if not describes(source, done):
            return now
        known = done["own"] if paths else {}
        before = {"source": done["source"], "mirror": done.get("mirror", mirror), "contents": done.get("contents")}
    except (FileNotFoundError, JobError, KeyError, TypeError, AttributeError):
        return now  # missing, or not a manifest: the job writes it
    own = own_files.listing(paths, known)
    if own_files.hashes(own) == own_files.hashes(known):
        return before | ({"paths": paths, "own": own} if paths else {})
    return now | {"contents": files.sha256_of_listing(own_files.hashes(own))}


def settle(manifest: Path, paths: Mapping[str, Path], own: dict) -> None:
    record = files.read_json(manifest)
    for name, path in paths.items():
        link = manifest.parent / record["folder"] / name
        if link.is_symlink() and link.readlink() != path:
            with files.replacing(link) as temporary:
                temporary.symlink_to(path)
    if record["own"] != own:
        stat = manifest.stat()
        files.write_json(manifest, record | {"own": own})
        os.utime(manifest, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def describes(source: dict, manifest: dict) -> bool:
    """Tell whether a source describes the files of a manifest: all by their hashes, or by the same origin."""
    before = manifest["source"]
    if source == before:
        return True
    found = manifest.get("raw") or manifest["files"]
    if source["kind"] not in ("hub", "url", "archive") or source["files"].keys() != found.keys():
        return False
    return all(
        found[name]["sha256"].startswith(sha256) if sha256 else origin(source, name) == origin(before, name, manifest)
        for name, sha256 in hashes(source).items()
    )


def hashes(source: dict) -> dict[str, str | None]:
    stated = source["files"].items()
    return {name: entry["sha256"] if isinstance(entry, dict) else entry for name, entry in stated}


def origin(source: dict, name: str, manifest: dict | None = None) -> tuple:
    """Identify a file without a hash by its address; a branch on the Hub by the commit that was downloaded."""
    if source["kind"] == "hub":
        revision = manifest["revision"] if manifest else source["revision"]
        return source["repo"], source.get("repo_type"), revision, name
    entry = source["files"].get(name)
    return source["kind"], entry["url"] if isinstance(entry, dict) else source.get("base")
