"""Generate images from new control images and prompts with a finished run: PNG files, and predictions.csv.

The control images are computed from images as in the training, or used unchanged.
"""

from collections import Counter
from functools import cache
from pathlib import Path

from PIL.Image import Image

from hra_workflow.core import files, finished_run, manifests
from hra_workflow.core.errors import expect
from hra_workflow.core.job import script
from hra_workflow.core.sharding import seed
from hra_workflow.core.wording import listed
from hra_workflow.data import images, new_inputs
from hra_workflow.models import new_images
from hra_workflow.tasks.control import hints
from hra_workflow.tasks.control.data import square
from hra_workflow.tasks.control.items import items
from hra_workflow.tasks.control.sampling import Sampler

LATENT = 8  # pixels per latent position along a side


class Strict(Sampler):
    truncates = False  # unlike the evaluation: a user can shorten a prompt


@script
def main(job: dict) -> None:
    params, given, settings = job["params"], job["params"]["given"], job["params"]["settings"]
    record = finished_run.read_requested(params["record"], params["weights"], params["model"], job["wildcards"])
    computed = hint_of(record, settings["hints"]) if "images" in given else None
    folder = given.get("images") or given["controls"]
    side, first = record["made_from"]["settings"]["resolution"], params["seed"]
    found = new_inputs.images_in(folder, side // LATENT)
    names, paths = list(found), list(found.values())
    prompts = prompts_of(given["prompts"], folder, names)

    @cache
    def control(row: int) -> Image:
        shown = square(images.load(paths[row]), side)
        return hints.HINTS[computed](shown, None) if computed else shown

    def about(item: tuple[int, int]) -> dict:
        row = item[1]
        noise = seed("control", record["seed"] if first is None else first, row)
        prompt = prompts[row] + settings["sampling"]["prompt_suffix"]
        return {"given": names[row], "prompt": prompt, "seed": noise}

    depend = {"computed": computed, "images": [files.sha256(path) for path in paths]}
    asked = items(record["steps"], len(paths))
    new_images.draw(job, record, asked, about, Strict, lambda item: control(item[1]), depend)


def hint_of(record: dict, manifest: str) -> str:
    """Return what computed the control images of the training, which must have used nothing but the images."""
    expect(Path(manifest).exists(), f"expected the run's control images, found no {manifest}.")
    manifests.check_hints(record, manifest)
    hint = files.read_json(manifest)["hint"]
    expect(
        hint is not None,
        "--images: expected a run whose control images are computed only from images, found one that was trained with "
        "annotations or given control images. Pass control images: --controls FOLDER",
    )
    return hint


def prompts_of(path: str, folder: str, names: list[str]) -> list[str]:
    """Return the prompt of each image: from the row with its file name, or the only prompt for all images."""
    rows = new_inputs.table(path, ["prompt"])
    if "image" not in rows:
        expect(
            len(rows["prompt"]) == 1,
            f"{path}: expected one prompt for all images, or a column `image` with file names of {folder}, found "
            f"{len(rows['prompt'])} prompts without it.",
        )
        return rows["prompt"] * len(names)
    named = dict(zip(rows["image"], rows["prompt"], strict=True))
    wrong = {
        "none for": [name for name in names if name not in named],
        "several for": [name for name, count in Counter(rows["image"]).items() if count > 1],
        # The prompts of a folder may be used with one image of it.
        "one for the missing": [name for name in named if name not in names and Path(folder).is_dir()],
    }
    for found, those in wrong.items():
        expect(
            not those,
            f"{path}: expected a prompt for every image of {folder}, found {found} {listed(map(str, those))}. Correct "
            "the column `image`.",
        )
    return [named[name] for name in names]


if __name__ == "__main__":
    main()
