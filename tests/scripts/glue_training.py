"""A training of a classifier in this process."""

from support import ROOT

SCRIPT = ROOT / "workflow/scripts/train_glue.py"


def comparable(record: dict) -> dict:
    """Return what two identical training runs must share to the last digit."""
    return {key: record[key] for key in ("curve", "best_step", "steps", "trainable_parameters", "hyperparameters")}
