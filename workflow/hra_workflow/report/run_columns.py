"""The columns of the run table, which its schema describes. None of the values is a percentage."""

from functools import cache
from pathlib import Path

from hra_workflow import ROOT
from hra_workflow.core import files

# The benchmark of table columns that show the cost of training; their metrics are columns of the run table.
TRAINING, OF_TRAINING = "training", ("seconds", "device_seconds", "peak_memory_bytes", "trainable_parameters")
SCHEMA = Path(ROOT, "workflow/schemas/runs.schema.json")


@cache
def columns() -> dict[str, tuple[str, str]]:
    """Return the type and the meaning of every column by its name, in order."""
    properties = files.read_json(SCHEMA)["properties"]
    return {name: (entry["type"][0], entry["description"]) for name, entry in properties.items()}
