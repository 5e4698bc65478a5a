"""croissant.json of an archive: the data of its tables in the format Croissant 1.0 (https://mlcommons.org/croissant).

It is made from the manifests: files with SHA-256, splits with columns and numbers of rows, and licences. A URL is that
of the publisher. Paths are those of the project: the archive lacks these files, but in the project's folder, programs
that read Croissant find them.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import quote

from hra_results.archives.crate import TYPES

VERSION = "http://mlcommons.org/croissant/1.0"
PARQUET = ".parquet"
FORMATS = TYPES | {PARQUET: "application/x-parquet", ".jpg": "image/jpeg", ".jsonl": "application/jsonlines"}
UNKNOWN = "application/octet-stream"
PROPERTIES = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform"
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {name: f"cr:{name}" for name in PROPERTIES.split()}


def describe(name: str, manifests: dict[str, dict], published: str) -> dict:
    """Return the description of the datasets among the manifests.

    name: that of the archive. manifests: by path; one of a model has no entry `dataset`. published: the archive's time.
    """
    datasets = {path: one for path, one in manifests.items() if "dataset" in one}
    names = [one["name"] for one in datasets.values()]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": name,
        "description": f"Training and evaluation data of {name}: {', '.join(names)}.",
        "datePublished": published,
        "license": list(dict.fromkeys(licence(one) for one in datasets.values())),
        "distribution": [file for path, one in datasets.items() for file in distribution(path, one)],
        "recordSet": [split for one in datasets.values() for split in splits(one)],
    }


def licence(manifest: dict) -> str:
    return manifest.get("license") or f"not stated for {manifest['name']}"


def distribution(path: str, manifest: dict) -> Iterable[dict]:
    """Yield the files that jobs read and, if these were converted, the published files that they are made from."""
    name, folder = manifest["name"], PurePosixPath(path).parent / manifest["folder"]
    about = f"{name}, licence: {licence(manifest)}"
    for file, facts in manifest.get("raw", {}).items():
        if address := url(manifest, file):
            yield file_object(f"{name}/source/{file}", address, facts, f"Source of {about}")
    for file, facts in manifest["files"].items():
        address = None if "raw" in manifest else url(manifest, file)
        yield file_object(f"{name}/{file}", address or str(folder / file), facts, f"File of {about}")


def file_object(identifier: str, address: str, facts: dict, about: str) -> dict:
    return {
        "@type": "cr:FileObject",
        "@id": identifier,
        "name": identifier,
        "description": about,
        "contentUrl": address,
        "contentSize": f"{facts['bytes']} B",
        "encodingFormat": FORMATS.get(PurePosixPath(identifier).suffix.lower(), UNKNOWN),
        "sha256": facts["sha256"],
    }


def url(manifest: dict, file: str) -> str | None:
    """Return the URL of a downloaded file; None if only an archive with it has a URL."""
    source = manifest["source"]
    if source["kind"] == "hub":
        kind = f"{source['repo_type']}s/" if "repo_type" in source else ""
        return f"https://huggingface.co/{kind}{source['repo']}/resolve/{manifest['revision']}/{quote(file)}"
    if source["kind"] == "url":
        entry = source["files"][file]
        return entry["url"] if isinstance(entry, dict) else f"{source['base']}/{quote(file)}"
    return None


def splits(manifest: dict) -> Iterable[dict]:
    """Yield the record set of each split that is a table: its columns and number of rows."""
    name, dataset = manifest["name"], manifest["dataset"]
    label = "sc:Integer" if dataset.get("labels") else "sc:Float"
    columns = dict.fromkeys(dataset.get("columns", ()), "sc:Text")
    columns |= {"label": label} if "label" in dataset else {}
    for split, rows in manifest.get("rows", {}).items():
        if f"{split}{PARQUET}" in manifest["files"]:
            identifier, file = f"{name}/{split}", {"@id": f"{name}/{split}{PARQUET}"}
            yield {
                "@type": "cr:RecordSet",
                "@id": identifier,
                "name": identifier,
                "description": f"Split {split} of {name}: {rows} rows.",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"{identifier}/{column}",
                        "name": f"{identifier}/{column}",
                        "dataType": kind,
                        "source": {"fileObject": file, "extract": {"column": column}},
                    }
                    for column, kind in columns.items()
                ],
            }
