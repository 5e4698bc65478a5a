"""The types of evaluators by their names in the config, and the queries of the dry run."""

from functools import cache
from pathlib import Path

from hra_workflow.core import imports
from hra_workflow.core.errors import JobError
from hra_workflow.evaluators.protocol import Evaluator, Needs

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
OPTIONS = ("crop", "size", "config")  # keys of an entry that only some types have


@cache
def find(kind: str) -> type[Evaluator]:
    """Import the class of a type; raise JobError if it does not exist or is not an evaluator."""
    path = KINDS.get(kind, kind)
    if ":" not in path:
        raise JobError(
            f"evaluator kind {kind!r}: expected one of {', '.join(KINDS)}, or a custom class as module:Class. "
            "Correct `kind`."
        )
    found = imports.import_named(path, "evaluator kind")
    metrics, needs = getattr(found, "metrics", None), getattr(found, "needs", None)
    texts = isinstance(metrics, tuple) and all(isinstance(ending, str) for ending in metrics)
    if not (isinstance(found, type) and metrics and texts and isinstance(needs, Needs)):
        raise JobError(
            f"evaluator kind {kind!r}: expected a class with `metrics`, a tuple of name endings, `needs` and "
            f"`score`, found {found!r}. Derive it from hra_workflow.evaluators.protocol.Evaluator."
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
    try:
        needs, kind = find(entry["kind"]).needs, entry["kind"]
    except JobError as problem:
        raise JobError(f"{place}: {problem}") from problem
    if needs.model != ("model" in entry):
        raise JobError(f"{place}: kind {kind} {'needs a' if needs.model else 'has no'} model")
    for option in OPTIONS:
        if option in entry and option not in needs.options:
            raise JobError(f"{place}: kind {kind} has no {option}")
    if needs.images not in (None, images):
        raise JobError(f"{place}: kind {kind} needs {needs.images} images, this task has {images}. Remove it")


def check_annotation(place: str, entry: dict, annotation: str | None) -> None:
    """Raise JobError unless a dataset has the type of annotation that an evaluator needs."""
    accepted = find(entry["kind"]).needs.annotation
    if accepted and annotation not in accepted:
        wanted = " or ".join(accepted)
        raise JobError(f"{place}: {entry['name']} ({entry['kind']}) needs an annotation of kind {wanted}")
