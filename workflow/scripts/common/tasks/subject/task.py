"""What the config says about subject-driven generation: nouns, prompts, and the list of images that a run makes.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

import hashlib
import re

from common import methods
from common.core import grid

BENCHMARK = "prompts"


def slug(noun: str) -> str:
    """A class name as a part of a path: `stuffed animal` -> `stuffed-animal`."""
    return re.sub(r"[^a-z0-9]+", "-", noun.lower()).strip("-")


def nouns(config: dict) -> dict[str, str]:
    """Class names by their slug."""
    return {slug(entry["class"]): entry["class"] for entry in config["datasets"].get("subject", {}).values()}


def marks(settings: dict, trains: bool = True) -> list[int]:
    """The steps after which weights are saved, the last one included: the ends of the epochs.

    The official training counts an epoch per 200 class images: 2005 steps end eleven epochs, the last of five steps.
    """
    if not trains:
        return [0]
    last = settings["max_steps"]
    every = settings["epoch_steps"] if settings["keep_epochs"] == "all" else last
    return [*range(every, last, every), last]


def phrase(identifier: str | None, noun: str) -> str:
    return f"{identifier} {noun}" if identifier else noun


def prompts(config: dict, dataset: str, identifier: bool = True, official: bool = False) -> list[str]:
    """The prompts of a subject. `official`: the list of live subjects, whatever the subject."""
    task, entry = config["tasks"]["subject"], config["datasets"]["subject"][dataset]
    templates = task["prompts"]["live" if official else entry["prompts"]]
    words = phrase(task["identifier"] if identifier else None, entry["class"])
    return [template.replace("{subject}", words) for template in templates]


def training_prompts(config: dict, noun: str) -> dict[str, str]:
    """What the subject's images and the class images are called in training."""
    task = config["tasks"]["subject"]
    return {
        "instance": task["training_prompt"].replace("{subject}", phrase(task["identifier"], noun)),
        "class": task["training_prompt"].replace("{subject}", noun),
    }


def sampled(config: dict, dataset: str, run: str) -> list[int]:
    """The steps of a run whose weights are sampled."""
    trains = methods.of(config, run.split("/")[0]).trains
    found = marks(grid.hyperparameters(config, "subject", dataset, run), trains)
    return found if config["tasks"]["subject"]["generation"]["epochs"] == "all" else found[-1:]


def sampling(config: dict) -> dict:
    """How images are drawn; how many shards share the work is not part of it."""
    task = config["tasks"]["subject"]
    names = ("batch_size", "images", "inference_steps", "guidance", "safety_checker", "precision")
    return {name: task["generation"][name] for name in names} | {"resolution": task["resolution"]}


def class_sampling(config: dict) -> dict:
    """Class images are trained on: none may be black."""
    images = config["tasks"]["subject"]["class_images"]["images"]
    return sampling(config) | {"images": images, "safety_checker": False}


def class_images(config: dict, dataset: str, run: str) -> str | None:
    """The folder's name of the class images that a run trains on."""
    trains = methods.of(config, run.split("/")[0]).trains
    wanted = trains and grid.hyperparameters(config, "subject", dataset, run)["prior_weight"]
    return slug(config["datasets"]["subject"][dataset]["class"]) if wanted else None


def evaluation(config: dict, dataset: str) -> dict:
    """What an evaluation of a subject's images needs."""
    task = config["tasks"]["subject"]
    chosen = task["evaluation"]
    return {
        "evaluators": chosen["evaluators"],
        "best_by": chosen["best_by"],
        "prompts": prompts(config, dataset, official=chosen["prompts"] == "official"),
        "prompts_class": prompts(config, dataset, False, official=chosen["prompts"] == "official"),
    }


def evaluator_models(config: dict) -> list[str]:
    """The models that the evaluators need."""
    entries = config["tasks"]["subject"]["evaluation"]["evaluators"]
    return list(dict.fromkeys(entry["model"] for entry in entries if "model" in entry))


def sheet_runs(config: dict, dataset: str) -> list[dict]:
    """The runs whose images stand on a subject's contact sheet: those of its first seed."""
    of_this = [run for run in grid.runs(config, "subject") if run["dataset"] == dataset]
    return [
        run
        for run in of_this
        if run["seed"] == of_this[0]["seed"] and not methods.of(config, run["method"]).real_images
    ]


def metrics(evaluators: list[dict]) -> list[str]:
    """Names of the metrics that the evaluators give, and the share of blocked images."""
    endings = {"clip": ["_i", "_t", "_t_class"], "lpips-vgg": LPIPS, "st-lpips": LPIPS}
    return [one["name"] + end for one in evaluators for end in endings.get(one["kind"], [""])] + ["blocked"]


LPIPS = ["_diversity", "_real"]  # between generated images, as OFT defines it; real against generated, as the code does


# One image: (step, prompt, index)


def items(steps: list[int], n_prompts: int, n_images: int) -> list[tuple[int, int, int]]:
    return [(step, prompt, image) for step in steps for prompt in range(n_prompts) for image in range(n_images)]


def key(item: tuple[int, int, int]) -> str:
    """Name of an image in its tar file, without a dot."""
    step, prompt, image = item
    return f"step{step:05d}-prompt{prompt:02d}-{image}"


def batches(listed: list[tuple], size: int) -> list[list[tuple]]:
    """Cut before they are dealt to shards, so that an image has the same neighbours in any number of them.

    A batch never spans two steps: these are other weights.
    """
    cut: list[list[tuple]] = []
    for item in listed:
        if not cut or len(cut[-1]) == size or cut[-1][0][0] != item[0]:
            cut.append([])
        cut[-1].append(item)
    return cut


def share(listed: list, index: int, count: int) -> list:
    """The neighbouring batches of shard `index` of `count`: few changes of weights."""
    return listed[index * len(listed) // count : (index + 1) * len(listed) // count]


def seed(*parts) -> int:
    """A seed of 63 bits that depends on the parts alone."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
