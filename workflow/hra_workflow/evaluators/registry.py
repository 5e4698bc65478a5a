"""The types of evaluators by their names in the config, and the queries of the dry run."""

from functools import cache
from pathlib import Path

from hra_workflow.core import imports
from hra_workflow.core.errors import JobError, expect
from hra_workflow.evaluators.protocol import Evaluator

KINDS = {  # other types are named `module:Class`
    "dino": "hra_workflow.evaluators.image_features:Dino",
    "clip": "hra_workflow.evaluators.image_features:Clip",
    "efficientnet-lite0": "hra_workflow.evaluators.image_features:EfficientNet",
    "lpips-vgg": "hra_workflow.evaluators.lpips:LpipsVgg",
    "st-lpips": "hra_workflow.evaluators.lpips:StLpips",
    "canny": "hra_workflow.evaluators.edges:Canny",
    "segformer-mmseg": "hra_workflow.evaluators.segmentation:Mmsegmentation",
    "segformer-nvlabs": "hra_workflow.evaluators.segmentation:Nvlabs",
    "face-alignment": "hra_workflow.evaluators.landmarks:FaceAlignment",
    "fid": "hra_workflow.evaluators.fid:Fid",
}
OPTIONS = ("crop", "config")  # keys of an entry that only some types have


@cache
def find(kind: str) -> type[Evaluator]:
    """Import the class of a type; raise JobError if it does not exist or is not an evaluator."""
    path = KINDS.get(kind, kind)
    known = f"one of {', '.join(KINDS)}, or a custom class as module:Class"
    expect(":" in path, f"evaluator kind {kind!r}: expected {known}. Correct `kind`")
    found = imports.import_named(path, "evaluator kind")
    expect(
        isinstance(found, type) and issubclass(found, Evaluator),
        f"evaluator kind {kind!r}: expected a class, found {found!r}. Derive it from {Evaluator.__module__}:Evaluator",
    )
    return found


def load(entry: dict, folder: str | Path | None = None, device: str = "cpu") -> Evaluator:
    """Create the evaluator of a config entry; `folder`: its model's files."""
    return find(entry["kind"])(entry, folder and Path(folder), device)


def metrics(entries: list[dict]) -> list[str]:
    """List the names of the evaluators' metrics."""
    return [entry["name"] + ending for entry in entries for ending in find(entry["kind"]).metrics]


def directions(entries: list[dict]) -> dict[str, str]:
    """Return which values of each metric are better, lower or higher; "": the config decides."""
    return {name: find(entry["kind"]).better for entry in entries for name in metrics([entry])}


def of_run(entries: list[dict]) -> list[str]:
    """List the names of the metrics that are not means over images."""
    return [entry["name"] + ending for entry in entries for ending in find(entry["kind"]).of_run]


def models(entries: list[dict]) -> list[str]:
    """List the distinct models that the evaluators need."""
    return list(dict.fromkeys(entry["model"] for entry in entries if "model" in entry))


def check(place: str, entry: dict, images: str) -> None:
    """Raise JobError if an entry lacks its model or has a key that its type does not use.

    `images`: the type of the task's reference images, see Needs.
    """
    kind, key = entry["kind"], f"{place}: kind {entry['kind']}"
    try:
        needs = find(kind).needs
    except JobError as problem:
        raise JobError(f"{place}: {problem}") from problem
    expect(needs.model == ("model" in entry), f"{key} {'needs a' if needs.model else 'has no'} model")
    for option in OPTIONS:
        expect(option not in entry or option in needs.options, f"{key} has no {option}")
    expect(needs.images in (None, images), f"{key} needs {needs.images} images, this task has {images}. Remove it")


def check_annotation(place: str, entry: dict, annotation: str | None) -> None:
    """Raise JobError unless a dataset has the type of annotation that an evaluator needs."""
    accepted = find(entry["kind"]).needs.annotation
    wanted = f"{entry['name']} ({entry['kind']}) needs an annotation of kind {' or '.join(accepted)}"
    expect(not accepted or annotation in accepted, f"{place}: {wanted}")
