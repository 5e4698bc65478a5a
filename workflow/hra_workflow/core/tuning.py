"""Tuning of hyper-parameters: the trials of a run, and the values chosen from them.

A trial is a training run whose variant names its values, `r8@learning_rate-0.001`: it starts from the variant's initial
adapter and has a separate folder.
"""

import itertools
from pathlib import Path

from hra_workflow.core import records
from hra_workflow.core.errors import JobError

MARK = "@"  # not allowed in names of variants (the schema's pattern), and safe in paths
SEED = 1000  # of the trials: a final run with a trial's seed would be a run that was selected
VARIANT = rf"({MARK}[\w{MARK}.+-]+)?"  # the suffix of a trial's variant, as a regular expression


def base(run: str) -> str:
    """Return the variant, or `method/variant`, of a trial; return any other name unchanged."""
    return run.partition(MARK)[0]


def is_tuned(tune: dict | None, run: str) -> bool:
    """Return whether the training of `method/variant` is tuned."""
    return bool(tune) and run in tune.get("runs", [run])


def search(tune: dict, run: str) -> dict[str, list]:
    """Return the values of each hyper-parameter that are tried for `method/variant`. tune: `tasks.{task}.tune`."""
    by_method = tune.get("methods", {})
    return tune["search"] | by_method.get(run.split("/")[0], {}) | by_method.get(run, {})


def trials(tune: dict, run: str) -> dict[str, dict]:
    """Return the values of every trial of `method/variant`, by the trial's `method/variant`."""
    lists = search(tune, run)
    every = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    return {run + "".join(f"{MARK}{key}-{value}" for key, value in one.items()): one for one in every}


def read_choice(path: str | Path) -> dict:
    """Return the `values` chosen from the trials of a run, or {} and the `error` if all of them failed."""
    remedy = "Delete it and run again: they are chosen again. To set values yourself, use a preset without `tune`."
    return records.read(path, remedy)


def chosen_values(path: str | Path) -> dict:
    """Return the values chosen from the trials of a run; {} if the trials are unfinished or have all failed."""
    return read_choice(path)["values"] if Path(path).exists() else {}


def require_choice(job: dict) -> None:
    """Raise JobError if a training job should use the values of its trials, but all of them failed."""
    path = job["input"].get("chosen")
    if path and (error := read_choice(path).get("error")):
        raise JobError(error)
