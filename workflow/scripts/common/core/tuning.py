"""Tuning of hyper-parameters: the trials of a run, and the values chosen from them.

A trial is a training run whose variant names its values, `r8@learning_rate-0.001`: it starts from the variant's initial
adapter and has a folder of its own. Plain Python on plain dicts: imported by the Snakefile on login nodes.
"""

import hashlib
import itertools
from pathlib import Path

from common.core import files
from common.core.errors import JobError

MARK = "@"  # in no name of a variant (the schema's pattern), and safe in paths
VARIANT = rf"({MARK}[\w{MARK}.+-]+)?"  # as a regular expression, what a trial appends to a variant


def base(run: str) -> str:
    """Return the variant, or `method/variant`, of a trial; any other is returned as it is."""
    return run.partition(MARK)[0]


def search(tune: dict, run: str) -> dict[str, list]:
    """Return the values to try of each hyper-parameter for `method/variant`, of `tasks.{task}.tune`."""
    own = tune.get("methods", {})
    return tune["search"] | own.get(run.split("/")[0], {}) | own.get(run, {})


def trials(tune: dict, run: str) -> dict[str, dict]:
    """Return the values of every trial of `method/variant`, by the trial's `method/variant`.

    A random search takes the first ones in a seeded order of all combinations, so that another value or a larger
    budget adds trials and keeps most of the others.
    """
    lists = search(tune, run)
    every = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    named = {run + "".join(f"{MARK}{key}-{value}" for key, value in one.items()): one for one in every}
    if tune.get("sampler", "grid") == "grid":
        return named
    seed = tune.get("seed", 0)
    order = sorted(named, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[: tune["trials"]]
    return {name: values for name, values in named.items() if name in order}


def chosen(path: str | Path) -> dict:
    """Return the values that were chosen from the trials of a run; {} if they are not finished, or all failed."""
    return files.read_json(path)["values"] if Path(path).exists() else {}


def require_choice(job: dict) -> None:
    """Raise JobError if a training job should use the values of its trials, but all of them failed."""
    path = job["input"].get("chosen")
    if path and (error := files.read_json(path).get("error")):
        raise JobError(error)
