"""A dataset and jobs that download it."""

import json

import jsonschema

import download
import rule_jobs
from hra_workflow.core import errors, files
from hra_workflow.core.errors import JobError
from hra_workflow.data import finished_downloads
from support import ROOT

SCHEMA = json.loads((ROOT / "workflow/schemas/manifest.schema.json").read_text())
DATASET = {
    "splits": {"train": ["train.csv"], "validation": ["dev.csv"]},
    "read": {"sep": ","},
    "columns": ["sentence"],
    "label": "label",
    "labels": ["bad", "good"],
}
TRAIN = 'label,sentence,more\n1,a fine day,x\n0,"so, no",x\n1,NA,x\n'
DEV = "label,sentence\n0,none\n1,null\n"


def job_of(manifest, source, dataset=None, local_root=".", **params):
    kind, params = ("dataset", params | {"dataset": dataset}) if dataset else ("model", params)
    return rule_jobs.download(kind, manifest, source, name="glue/toy", local_root=str(local_root), **params)


def run(manifest, *arguments, **options):
    try:
        download.main(job_of(manifest, *arguments, **options))
    except JobError as problem:
        assert "\n" not in errors.describe(problem)  # the last line of a log is what the user is shown
        assert not manifest.exists()
        raise
    record = files.read_json(manifest)
    jsonschema.validate(record, SCHEMA)
    folder = manifest.parent / record["folder"]
    for path, entry in record["files"].items():
        assert entry == {"bytes": (folder / path).stat().st_size, "sha256": files.sha256(folder / path)}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(record["files"])
    kept = {finished_downloads.copy_of(manifest).name, f".{folder.name}.lock"}
    assert {path.name for path in manifest.parent.glob(".*")} == kept  # nothing under way is left
    return record
