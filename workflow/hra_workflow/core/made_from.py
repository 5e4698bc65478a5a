"""The entry `made_from` of a result, written into every result that a job reads and compared where it is read.

Records, manifests and metrics have it in their entry `made_from`, answers in their first line, archives of images in
their header:

result      the values of its wildcards, without the shard
settings    the params of its job that change its numbers, with the `version` of its method and task
before      the digests of what the results before it are expected to be made from, by the name of the input
inputs      SHA-256 of every manifest and record that was read, by path: those of manifests cover the listed files,
            those of a run's record its weights

The digest of `settings` and `before` is the one param that Snakemake records: a job runs again if it changes. It covers
the jobs before, so a change is not forgotten if they are killed (snakemake_bridge/identities.py computes both from the
config). The comparison finds results of other jobs, such as one whose Snakemake was killed.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files, provenance, tuning
from hra_workflow.core.errors import JobError

KEY = "made_from"
PARAM = "expects"  # the param of a job: names of its `settings`, and `before`, what its inputs are made from
RUN = ("task", "dataset", "method", "variant", "seed")
SHARDS = ("shard", "n_shards")
ROUNDING = ("eval_batch_size", "gradient_checkpointing")  # hyper-parameters that change results only by rounding
NEUTRAL_INPUTS = ("chosen",)  # it is in the settings
PACKAGES = ("torch", "peft", "transformers", "diffusers")


# Writing


def describe(job: dict) -> dict:
    """Return what the results of a job are made from."""
    params, inputs = job["params"], sorted(set(recorded_inputs(job)))
    about = params.get(PARAM, {"settings": list(params), "before": {}})  # a job.json by hand may name only params
    return as_json(
        {
            "result": result(job["wildcards"]),
            "settings": {name: params[name] for name in about["settings"]},
            "before": {name: digest_of(one) for name, one in about["before"].items()},
            "inputs": {path: of_input(path) for path in inputs},
        }
    )


def of_training(job: dict, steps: int, processes: int | None, packages: tuple[str, ...] = ()) -> dict:
    """Add what a training checkpoint depends on, too.

    `steps`: total number of optimiser steps. `processes`: their number if random numbers depend on it. `packages`:
    those besides PACKAGES whose versions change the results.
    """
    versions = {name: minor(provenance.version(name)) for name in (*PACKAGES, *packages)}
    run = {name: job["wildcards"][name] for name in RUN}
    return describe(job | {"wildcards": run}) | {"steps": steps, "processes": processes, "versions": versions}


def result(wildcards: dict) -> str:
    others = sorted(wildcards.keys() - {*RUN, *SHARDS})
    return "/".join(str(wildcards[name]) for name in (*RUN, *others) if name in wildcards)


def recorded_inputs(job: dict) -> Iterable[str]:
    for name, value in job["input"].items():
        for path in [value] if isinstance(value, str) else value or []:
            if name not in NEUTRAL_INPUTS and path.endswith(".json"):
                yield path


def of_input(path: str) -> str:
    """Return the SHA-256 of the files that a manifest lists, or of the content of a record."""
    return files.read_json(path).get("sha256") or files.sha256(path)


def digest(content) -> str:
    """Hash a content to 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def digest_of(made: dict | list) -> str:
    """Return the digest of what a result, or each of several, is made from: of the entries that the config decides."""
    if isinstance(made, list):
        return digest([digest_of(one) for one in made])
    return made.get("digest") or digest([made["settings"], made["before"]])


def as_json(content: dict) -> dict:
    return json.loads(json.dumps(content))


def minor(version: str) -> str:
    """Shorten a version to the two numbers in which results may differ."""
    return ".".join(version.split(".")[:2])


# Comparing


def check_input(job: dict, name: str, found: dict, path: str | Path | None = None) -> None:
    """Raise JobError unless the input `name` of a job, or its file `path`, is made from what is expected."""
    expected = job["params"].get(PARAM, {"before": {}})["before"].get(name, {})
    check(path or job["input"][name], found, expected)


def check(path: str | Path, found: dict, expected: dict) -> None:
    """Raise JobError unless the result `path` is made from what is expected; see `list_differences`."""
    if differences := list_differences(found, expected):
        raise JobError(
            f"{path}: expected the result that the config specifies, found one made from something else: "
            f"{', '.join(differences)}. Delete it and run again (hra-workflow run)."
        )


def list_differences(found: dict, expected: dict) -> list[str]:
    """List how a result differs from the config, in the form `max_new_tokens 8, now 20`.

    found: its entry, {} if it has none. expected: `result`, `settings` and `before` as far as they are known, and
    `chosen`, the file with the values that trials chose. Inputs that no longer exist are not compared.
    """
    if not found:
        return ["it does not record what it was made from (an earlier version or another program wrote it)"]
    settings, chosen = expected.get("settings"), expected.get("chosen")
    if chosen and not Path(chosen).exists():
        return [f"the values that its trials chose are missing ({chosen})"]
    if chosen:
        values = settings["hyperparameters"] | tuning.read_choice(chosen)["values"]
        settings = settings | {"hyperparameters": values}
    asked = {name: expected[name] for name in ("result", "before") if name in expected}
    asked |= {"settings": settings} if settings is not None else {}
    before = found.get("inputs", {})
    inputs = before | {path: of_input(path) for path in before if Path(path).exists()}
    now = as_json(asked | {"inputs": inputs})
    return differences({name: found.get(name, {}) for name in now}, now)


def check_own(path: str | Path, found: dict) -> None:
    """Raise JobError unless the result RUN/{benchmark}/… belongs to its folder, and its inputs are as they were."""
    record = files.read_json(Path(path).parents[1] / "train.json")
    here = {name: record[name] for name in RUN} | {"benchmark": Path(path).parent.name}
    if record["status"] == "ok":  # else, nothing was generated
        check(path, found, {"result": result(here)})


def without_folders(made: dict) -> dict:
    """Return the same for a project at any place: inputs by the names of their files, which may be in other folders."""
    inputs: dict[str, str] = {}
    for name, sha256 in sorted((Path(path).name, sha256) for path, sha256 in made.get("inputs", {}).items()):
        name = name.removesuffix(".manifest.json")
        inputs[f"{name} (2)" if name in inputs else name] = sha256  # of a model and a dataset
    return made | {"inputs": inputs}


def differences(saved: dict, now: dict) -> list[str]:
    """List the entries that differ, in the form `learning_rate 0.02, now 0.001`."""
    before, after = flatten(saved), flatten(now)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key) and key not in ROUNDING]
    return [f"{key} {format_value(before.get(key))}, now {format_value(after.get(key))}" for key in keys]


def flatten(content: dict, prefix: str = "") -> dict:
    """Flatten nested entries to dotted names; settings and hyper-parameters keep their own names."""
    found = {}
    for key, value in content.items():
        name = key if prefix in ("", "settings.", "hyperparameters.") else prefix + key
        found |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def format_value(value) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if len(text) == 64 else text[:80]
