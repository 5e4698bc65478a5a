"""The downloads of a table: their sizes, licences and missing tokens, without network access or Snakemake."""

from collections.abc import Iterable, Iterator

from hra_workflow.core import files
from hra_workflow.core.wording import listed, number
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import sources


def download_jobs(planned: Iterable[Job]) -> list[Job]:
    return [one for one in planned if one.stage == "download"]


def entry(config: dict, one: Job) -> tuple[dict, str]:
    """Return the config's entry of a download, and its name."""
    if "model" in one.wildcards:
        return config["models"][one.wildcards["model"]], one.wildcards["model"]
    if "dataset" in one.wildcards:
        name = one.wildcards["dataset"]
        return config["datasets"][one.wildcards["task"]][name], name
    if "address" in one.wildcards:
        return {"source": sources.of_archive(one.wildcards["address"])}, one.wildcards["address"]
    return {}, one.rule.removeprefix("download_")


def is_remote(stated: dict) -> bool:
    """Return whether an entry is downloaded, not read in place or generated."""
    return "source" not in stated or sources.of(stated["source"]).remote


def manifest_bytes(path: str) -> float:
    """Return the total bytes of a manifest's files; 0 if it does not exist."""
    return sum(file["bytes"] for file in files.read_if_valid(path).get("files", {}).values())


def size(config: dict, one: Job) -> float | None:
    """Return the bytes of a download: from its manifest, else the config's `gigabytes`; None: unknown."""
    stated, _ = entry(config, one)
    if not is_remote(stated):
        return 0.0
    if "source" in stated and sources.of(stated["source"]).archive:  # a separate download
        return manifest_bytes(one.outputs[0])
    return manifest_bytes(one.outputs[0]) or (stated["gigabytes"] * 1e9 if "gigabytes" in stated else None)


def summary(config: dict, planned: Iterable[Job]) -> str:
    """Describe the downloads in one line: missing, finished and of unknown size."""
    there, known, unknown = 0.0, {}, []
    for one in download_jobs(planned):
        found, name = size(config, one), entry(config, one)[1]
        if manifest_bytes(one.outputs[0]):
            there += manifest_bytes(one.outputs[0])
        elif found is None:
            unknown.append(name)
        elif found:
            known[name] = found / 1e9
    sizes = listed(f"{name} {number(amount)}" for name, amount in known.items())
    parts = [f"{number(sum(known.values()))} GB ({sizes})"] * bool(known)
    parts += [f"{number(there / 1e9)} GB already downloaded"] * bool(there)
    return "; ".join(parts + [f"unknown size: {listed(unknown)}"] * bool(unknown)) or "nothing"


def licences(config: dict, planned: Iterable[Job]) -> Iterator[str]:
    """List the downloads with their licence, one line per licence."""
    grouped: dict[str, list[str]] = {}
    for one in download_jobs(planned):
        stated, name = entry(config, one)
        if is_remote(stated) and "address" not in one.wildcards:  # entries unpacked from an archive state its licence
            grouped.setdefault(stated.get("license", "not stated in the config"), []).append(name)
    return (f"{listed(names)}: {licence}" for licence, names in grouped.items())


def missing_tokens(config: dict, planned: Iterable[Job]) -> list[str]:
    """Describe the missing gated downloads for which this machine has no token."""
    needed = [entry(config, one)[0].get("source") for one in download_jobs(planned) if one.needed]
    problems = [sources.of(source).missing_token() for source in needed if source]
    return list(filter(None, problems))
