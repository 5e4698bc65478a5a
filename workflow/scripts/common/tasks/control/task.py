"""What the config says about controllable generation: evaluators, metrics, sampling, and the list of images of a run.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from common.core import grid
from common.tasks.control import hint_source

BENCHMARK = "validation"  # the split of a dataset that runs are judged on
SEGMENTATION = ("segformer-mmseg", "segformer-nvlabs", "object-mask")
LANDMARKS = ("face-alignment", "dlib", "object-points")
WITHOUT_MODEL = ("canny", "object-mask", "object-points")
NEEDS = {  # kind of an annotation -> kinds of evaluators that need one such
    "colours": SEGMENTATION,
    "classes": SEGMENTATION,
    "points": LANDMARKS[:2],
    "object-points": LANDMARKS[2:],
}
METRICS = (  # kind of an evaluator -> ends of its metrics' names
    dict.fromkeys(SEGMENTATION, ("_miou", "_macc", "_aacc"))
    | dict.fromkeys(LANDMARKS, ("_error", "_error_all", "_no_face", "_several_faces"))
    | {"canny": ("_iou", "_f1"), "fid": ("",)}
)


def evaluators(config: dict, dataset: str) -> list[dict]:
    """Those that a dataset names, in the order of its list."""
    known = {one["name"]: one for one in config["tasks"]["control"]["evaluation"]["evaluators"]}
    return [known[name] for name in config["datasets"]["control"][dataset]["evaluators"] if name in known]


def metrics(chosen: list[dict]) -> list[str]:
    """Names of the metrics that the evaluators give."""
    return [one["name"] + end for one in chosen for end in METRICS[one["kind"]]]


def evaluator_models(config: dict, dataset: str) -> list[str]:
    """The models that a dataset's evaluators need."""
    return list(dict.fromkeys(one["model"] for one in evaluators(config, dataset) if "model" in one))


def drawing(config: dict, dataset: str) -> dict:
    """Return what the control images of a dataset depend on, apart from its files (their manifest covers these).

    JobError if the module of a custom hint function cannot be found.
    """
    entry, task = config["datasets"]["control"][dataset], config["tasks"]["control"]
    chosen = {key: entry[key] for key in ("hint", "splits", "rows", "take") if key in entry}
    chosen["resolution"] = task["resolution"]
    if ":" in entry["hint"]:
        chosen["source_sha256"] = hint_source.sha256(entry["hint"])
    if task["version"] > 1:  # hints of version 1 were recorded without one, and must not be computed again
        chosen["task_version"] = task["version"]
    return chosen


def sampling(config: dict) -> dict:
    """How images are drawn, which the number of shards is no part of. The official code has no safety checker."""
    task = config["tasks"]["control"]
    names = ("batch_size", "inference_steps", "guidance", "eta", "prompt_suffix", "precision")
    return {name: task["generation"][name] for name in names} | {
        "resolution": task["resolution"],
        "safety_checker": False,
    }


def sheet_runs(config: dict, dataset: str) -> list[dict]:
    """The runs whose images stand on a dataset's sheet: those of its first seed that the config names."""
    wanted = config["tasks"]["control"]["sheets"]["runs"]
    of_this = [run for run in grid.runs(config, "control") if run["dataset"] == dataset]
    named = [run for run in of_this if f"{run['method']}/{run['variant']}" in wanted]
    return [run for run in named if run["seed"] == of_this[0]["seed"]]


# One image: (step, row of the split)


def items(step: int, rows: int) -> list[tuple[int, int]]:
    return [(step, row) for row in range(rows)]


def key(item: tuple[int, int]) -> str:
    """Name of an image in its tar file, without a dot."""
    return f"row{item[1]:06d}"
