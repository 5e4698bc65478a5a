"""Differences between the records of two runs, by name: settings, libraries and machines, data and models, code.

They have the form of made_from.differences: `learning_rate 0.02, now 0.001`.
"""

from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import made_from

VERSIONS = ("task_version", "method_version")


def between(first: dict, second: dict, evaluations: dict[str, tuple[dict, dict]]) -> dict[str, list[str]]:
    """List the differences of two runs by section. evaluations: both metrics.json of each benchmark that both have."""
    found = {}
    for section, (of_run, of_evaluation) in SECTIONS.items():
        lines = made_from.differences(of_run(first), of_run(second))
        for benchmark, pair in evaluations.items():
            more = made_from.differences(*map(of_evaluation, pair))
            lines += [f"{benchmark}: {line}" for line in more if line not in lines]  # most are those of the training
        found[section] = lines
    return found


def grouped(found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """Return the runs of each line by section. found: the differences of each run by its name."""
    sections: dict[str, dict[str, list[str]]] = {section: {} for section in SECTIONS}
    for name, differences in found.items():
        for section, lines in differences.items():
            for line in lines:
                sections[section].setdefault(line, []).append(name)
    return sections


def settings(record: dict) -> dict:
    return {"preset": record["preset"], "seed": record["seed"]} | without_versions(record["made_from"]["settings"])


def without_versions(content: dict) -> dict:
    """Return settings without what the other sections contain."""
    method = {key: value for key, value in (content.get("method") or {}).items() if key != "version"}
    return {key: method if key == "method" else value for key, value in content.items() if key not in VERSIONS}


def settings_of_evaluation(found: dict) -> dict:
    own = found.get("made_from", {}).get("settings", {}) | found.get("generation", {})
    return without_versions(own | {"items": found["n_items"]})


def libraries(record: dict) -> dict:
    return record["made_from"].get("versions", {}) | record["versions"] | device(record)


def device(found: dict) -> dict:
    return {"device": found["device"]}


def data(record: dict) -> dict:
    """Return the base model, and the digests of all inputs of a training."""
    model = {name: record["model"][name] for name in ("name", "revision")}
    digests = {"model": record["model"]["sha256"], "dataset": record["data_sha256"]}
    return {"model": model, "inputs": digests}


def data_of_evaluation(found: dict) -> dict:
    """Return the digests of the inputs of an evaluation, without the folder in which a project keeps them."""
    inputs = found.get("made_from", {}).get("inputs", {})
    data = {path: sha256 for path, sha256 in inputs.items() if path.endswith(".manifest.json")}
    return {"/".join(Path(path).parts[-2:]).removesuffix(".manifest.json"): sha256 for path, sha256 in data.items()}


def code(record: dict) -> dict:
    commit = {"commit": (record["commit"] or "unknown")[:12], "dirty": record["dirty"]}
    return commit | {name: record[name] for name in VERSIONS}


def code_of_evaluation(found: dict) -> dict:
    return {"task_version": found["task_version"]}


SECTIONS: dict[str, tuple[Callable[[dict], dict], Callable[[dict], dict]]] = {
    "Settings": (settings, settings_of_evaluation),
    "Libraries and machines": (libraries, device),
    "Data and models": (data, data_of_evaluation),
    "Code": (code, code_of_evaluation),
}
