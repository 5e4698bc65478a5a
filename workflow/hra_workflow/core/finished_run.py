"""Checks of a finished run: whether it is the one that the config specifies, and whether its files belong to it."""

from pathlib import Path

from hra_workflow.core import fingerprints, made_by, manifests, records, tuning
from hra_workflow.core.errors import expect


def read_run(record: str, weights: str, model: str, run: dict[str, str]) -> dict:
    """Return a run's record; raise JobError unless it, its weights and its base model are those of the training.

    record: train.json. weights: the file to use. model: the manifest of the base model. run: the wildcards of the job.
    """
    for path in (record, weights, model):
        expect(Path(path).exists(), f"expected a finished run, found no {path}. Make it first (hra-workflow run).")
    content = records.read(record)
    wanted, found = ([str(one[name]) for name in made_by.RUN if name in run] for one in (run, content))
    expect(
        wanted == found,
        f"{record}: expected the record of {'/'.join(wanted)}, found that of {'/'.join(found)}, copied from there. "
        "Delete the folder and run again.",
    )
    expect(content["status"] == "ok", f"{record}: expected a finished run, found one that has diverged.")
    manifests.check_trained_on(content, model)
    manifests.check_weights(content, record, weights)
    return content


def list_differences(record: dict, expected: dict) -> list[str]:
    """List how a run's record differs from the config, in the form `learning_rate 0.02, now 0.001`.

    expected: what the run is made from (tasks/expected_runs.py): `asked`, the config's entries of the training's
    fingerprint; `chosen`, the file with the values that trials chose, if the run is tuned; `inputs`, the manifests, of
    which those that no longer exist are not compared; and the run's names, as far as they are known.
    """
    names = {name: expected[name] for name in made_by.RUN if name in expected}
    found = fingerprints.differences({name: record.get(name) for name in names}, names)
    if "fingerprint" not in record:
        return [*found, "it does not record its settings (an earlier version wrote it)"]
    made, asked, chosen = record["fingerprint"], expected["asked"], expected.get("chosen")
    if chosen and not Path(chosen).exists():
        return [*found, f"the values that its trials chose are missing ({chosen})"]
    if chosen:
        asked = asked | {"hyperparameters": asked["hyperparameters"] | tuning.read_choice(chosen)["values"]}
    here = {name: fingerprints.of_input(path) for name, path in expected["inputs"].items() if Path(path).exists()}
    return found + fingerprints.differences(made, made | asked | {"inputs": made["inputs"] | here})


def check_current(record: dict, path: str, expected: dict) -> None:
    """Raise JobError unless a run's record, the file `path`, matches the config."""
    differences = list_differences(record, expected)
    expect(
        not differences,
        f"{path}: expected the run that the config specifies, found another one: {', '.join(differences)}. Pass the "
        f"project that it was trained with, or delete {path} and run again (hra-workflow run).",
    )


def read_results(record: dict, expected: dict[str, dict]) -> list[dict]:
    """Return the results of a run, metrics.json of each benchmark; raise JobError if one is of other weights.

    expected: the config's values of each result's `made_by` entry, by path (made_by.py).
    """
    found = []
    for path, asked in expected.items():
        expect(Path(path).exists(), f"expected an evaluated run, found no {path}. Make it first (hra-workflow run).")
        one = records.read(path)
        same = (one.get("record_sha256"), one.get("task_version")) == (record[records.SEAL], record["task_version"])
        expect(
            same,
            f"{path}: expected the results of the run as it is now, found those of an earlier training or version. "
            "Evaluate it again (hra-workflow run).",
        )
        made_by.check(path, one.get(made_by.KEY, {}), asked)
        found.append(one)
    return found
