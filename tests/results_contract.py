"""Problems of a folder of results: files that docs/results.md does not list, and what a schema refuses."""

import csv
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import jsonschema

from hra_workflow.core import files, predictions, records
from support import ROOT

PAGE = (ROOT / "docs/results.md").read_text()
RUN = r"(?:[^/]+/){4}seed\d+"
TABLES = ("runs", "table", "compare", "tune")
KINDS = {  # path below the folder of results -> schema; None: without a contract, or in no JSON
    rf"{RUN}/train\.json": "record",
    rf"{RUN}/[^/]+/metrics\.json": "metrics",
    rf"{RUN}/retention\.json": "retention",
    rf"{RUN}/[^/]+/predictions\.jsonl\.gz": "prediction",
    rf"{RUN}/[^/]+/outputs\.jsonl\.gz": "output",
    rf"{RUN}/[^/]+/images\.tar": "image",
    r"table_(?:retention|compute)\.csv": None,
    **{rf"{kind}_\w+\.csv": kind for kind in TABLES},
    r"contents\.json": "contents",
    r"preflight\.json": "preflight",
    rf"{RUN}/(?:last|best|steps/[^/]+)/(?:adapter_model\.safetensors|adapter_config\.json)": None,
    rf"{RUN}/(?:[^/]+/)?[^/]*benchmark\.tsv|{RUN}/retention_programs\.jsonl\.gz": None,
    r"table_\w+\.md|figures/.+\.(?:svg|png)|sheets/.+\.png": None,
    r"(?:.+/)?\.(?:[^/]+\.json|snakemake_timestamp)": None,  # a copy of a record
}


def problems(results: Path) -> Iterator[str]:
    """Yield a line per file that is not in the contract, or whose content its schema refuses."""
    for path in sorted(one for one in results.rglob("*") if one.is_file()):
        name = path.relative_to(results).as_posix()
        kind = next((kind for pattern, kind in KINDS.items() if re.fullmatch(pattern, name)), "")
        if kind == "":
            yield f"{name}: not in the contract"
        elif kind:
            yield from (f"{name}: {text}" for text in refused(kind, contents(path, kind)))


def contents(path: Path, kind: str) -> Iterable:
    """Return what a file's schema is about: its content, its lines or its rows."""
    if path.suffix == ".json":
        return [files.read_json(path)]
    if path.suffix == ".gz":
        return predictions.read(path)
    if path.suffix == ".tar":
        with tarfile.open(path) as archive:
            return [json.load(archive.extractfile(one)) for one in archive if one.name.endswith(".json")]
    schema = validator(kind).schema["properties"]
    with path.open(newline="") as stream:
        return [
            {name: cell(text, schema.get(name, {})) for name, text in row.items()} for row in csv.DictReader(stream)
        ]


def cell(text: str, schema: dict):
    """Return the value of a cell of a CSV file, as its schema names its type."""
    types = schema.get("type", ["number", "string", "null"])
    if text == "":
        return None if "null" in types else ""
    if {"integer", "number"} & {*([types] if isinstance(types, str) else types)}:
        try:
            return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        except ValueError:
            return text
    return {"true": True, "false": False}.get(text, text) if "boolean" in types else text


def validator(name: str) -> jsonschema.protocols.Validator:
    schema = files.read_json(ROOT / f"workflow/schemas/{name}.schema.json")
    return jsonschema.validators.validator_for(schema)(schema)


def refused(kind: str, values: Iterable) -> Iterator[str]:
    for value in values:
        name = "diverged" if kind in ("metrics", "retention") and value.get("status") == records.DIVERGED else kind
        for problem in validator(name).iter_errors(value):
            yield f"{'.'.join(map(str, problem.absolute_path))}: {problem.message[:200]} ({name}.schema.json)"
