"""What a download job downloads: the config's source, or for a finished download the one it was made from.

Snakemake repeats a job whose params have changed, and everything after it. A hash, a commit or a mirror that was added
to the config changes no file, so a finished download keeps its params as long as the config describes the same files.
"""

from pathlib import Path

from common.core import files
from common.core.errors import JobError
from common.data import sources


class Downloads:
    """Input and params of the download rules."""

    def __init__(self, config: dict, workflow):
        self.config, self.workflow, self.resources = config, workflow, config["pathvars"]["resources"]

    def planned(self, wildcards) -> dict:
        named = dict(wildcards.items())
        if "model" in named:
            place, source = f"models/{named['model']}", self.config["models"][named["model"]]["source"]
        elif "address" in named:
            place, source = f"archives/{named['address']}", sources.archive(named["address"])
        else:
            task, name = named["task"], named["dataset"]
            place, source = f"datasets/{task}/{name}", self.config["datasets"][task][name]["source"]
        # A forced job takes the config's source: Snakemake deletes the manifest before it runs the job.
        settings = self.workflow.dag_settings  # known after the Snakefile is read
        forced = settings.forceall or any(rule.startswith("download") for rule in settings.forcerun)
        return planned(source, self.config["mirror"], None if forced else f"{self.resources}/{place}.manifest.json")

    def source(self, wildcards) -> dict:
        return self.planned(wildcards)["source"]

    def mirror(self, wildcards) -> str | None:
        return self.planned(wildcards)["mirror"]

    def archive(self, wildcards) -> str | list:
        """Return the manifest of the archive that the source unpacks, or []."""
        source = self.source(wildcards)
        archived = source["kind"] == "archive"
        return f"{self.resources}/archives/{sources.address(source['url'])}.manifest.json" if archived else []


def planned(source: dict, mirror: str | None, manifest: str | Path | None) -> dict:
    """Return `source` and `mirror` of the download job that writes `manifest`; None: as if it did not exist."""
    try:
        done = files.read_json(manifest) if manifest else {}
        if describes(source, done):
            return {"source": done["source"], "mirror": done.get("mirror", mirror)}
    except (FileNotFoundError, JobError, KeyError, TypeError, AttributeError):
        pass  # missing, or not a manifest: the job writes it
    return {"source": source, "mirror": mirror}


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
