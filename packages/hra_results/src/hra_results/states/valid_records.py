"""Records that fit their schemas in workflow/schemas: those of this version of the project."""

from functools import cache
from pathlib import Path

import jsonschema

from hra_workflow import ROOT
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError


@cache
def validator(name: str) -> jsonschema.protocols.Validator:
    schema = files.read_json(Path(ROOT, "workflow", "schemas", f"{name}.schema.json"))
    return jsonschema.validators.validator_for(schema)(schema)


def load(path: str | Path, schema: str, remedy: str = "Delete it and run again.") -> dict:
    """Read a record and validate it against its schema; {} for the results of a diverged run."""
    value = records.read(path, remedy)
    if schema == "metrics" and value.get("status") == records.DIVERGED:
        return {}
    problem = jsonschema.exceptions.best_match(validator(schema).iter_errors(value))
    if problem:
        key = ".".join(map(str, problem.absolute_path)) or "top level"
        raise JobError(f"{path}: {key}: {problem.message} (workflow/schemas/{schema}.schema.json). {remedy}")
    return value
