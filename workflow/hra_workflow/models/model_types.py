"""Checks, by `model_type` and before the download, that the installed transformers can train a model for a task.

It is imported on login nodes. Importing transformers' mappings imports torch, so they are parsed from its source.
"""

import ast
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect, one_of
from hra_workflow.data import sources

MAPPINGS = {  # architecture of a task → transformers' mapping from model types to classes
    "causal_lm": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "classifier": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
}


@cache
def known(architecture: str) -> list[str]:
    """Return the model types of an architecture; raise JobError if transformers is not installed."""
    found = PathFinder.find_spec("transformers")
    expect(found is not None, "expected transformers in the environment of Snakemake, found none. Run `make install`")
    source = Path(found.submodule_search_locations[0], "models/auto/modeling_auto.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == MAPPINGS[architecture]:
            return [name for name, _ in ast.literal_eval(node.value.args[0])]
    raise JobError(f"expected {MAPPINGS[architecture]} in the installed transformers, found none. Report this")


def check(config: dict, name: str, architecture: str) -> None:
    """Raise JobError unless transformers has a model of the type of `models.{name}` with this architecture."""
    if architecture not in MAPPINGS:
        return
    place, entry = f"config: models.{name}", config["models"][name]
    model_type = entry.get("architecture") or on_disk(config, name)
    if model_type:
        one_of(f"{place}.architecture", f"{architecture} type", model_type, known(architecture))
    else:
        expect(
            not sources.of(entry["source"]).remote,
            f"{place}: expected `architecture`, the model_type in its config.json, because it is not downloaded yet. "
            "Add it, such as llama, qwen3 or modernbert",
        )


def on_disk(config: dict, name: str) -> str | None:
    """Return the type in the config.json of a model on this machine; None if it does not exist."""
    source = sources.of(config["models"][name]["source"], local_root=config.get("local_root"))
    folder = source.place if source.own else Path(config["pathvars"]["resources"], "models", name)
    path = folder / "config.json"
    return files.read_json(path).get("model_type") if path.exists() else None
