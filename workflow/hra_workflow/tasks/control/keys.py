"""The keys of the task control and of its datasets."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt

from hra_workflow.keys.section import (
    Distinct,
    Name,
    NonEmpty,
    Precision,
    Section,
    Shards,
    key,
    matching,
)
from hra_workflow.keys.sources import Source
from hra_workflow.keys.tasks import Evaluator, EveryTask, Resources, Taken

ImagePath = Annotated[str, matching(r"\{key\}|\*", "a path with {key} or *")]


class Captioned(Section):
    """An image with its prompt."""

    image: str = key("Name of the image.", examples=["7.jpg"])
    prompt: str = key("Its prompt.", examples=["a room"])


class Annotation(Section):
    """Annotations, from which segmentation and landmarks are computed and evaluated."""

    kind: Literal["colours", "classes", "points", "object-points"] = key(
        "ADE20K's classes as colours (the nearest within 4 levels per channel) or as a label map; in image pixels, 68 "
        "points of a face (lines `x y`) or 5 of a synthetic object."
    )
    place: ImagePath = key("Its path, written like `image`.", examples=["annotations.zip:train/{key}.png"])


class Split(Section):
    """Images with prompts."""

    prompts: str | NonEmpty[Captioned] = key(
        "A file (JSON Lines, a JSON list of objects, COCO's captions, or lines `KEY CATEGORY`), or the list. The "
        "objects have `image` (or `source`) and `prompt`.",
        examples=["train.jsonl", [{"image": "7.jpg", "prompt": "a room"}]],
    )
    keys: str = key("Use only the prompts whose image name matches, with * for anything.", default="*")
    control: ImagePath = key(
        "Path of a finished control image, written like `image`, of any control signal.",
        absent="`hint` computes it",
        examples=["edges/{key}.png"],
    )
    image: ImagePath = key(
        "Path of an image, or archive:path; {key} is its name in the prompts without extension, * the n-th file by "
        "name.",
        examples=["train2017.zip:train2017/{key}.jpg", "train/{key}.jpg"],
    )
    annotation: Annotation = key(absent="none; canny needs none")


def complete(splits: dict) -> dict:
    """Check that there are images to train on and to generate."""
    for name in ("train", "validation"):
        if name not in splits:
            raise ValueError(f"expected the splits train and validation, found no {name}")
    return splits


class Dataset(Taken, title="datasets.control.{name}"):
    """Images with prompts, of which control images are computed."""

    source: Source = key("Archives (.zip), which are read in place, or single files.", reruns="data")
    hint: Literal["canny", "segmentation", "landmarks"] = key(
        "What computes the control images: edges, ADE20K's colours or white dots.",
        absent="every split has `control`",
        reruns="data",
    )
    splits: Annotated[dict[Name, Split], AfterValidator(complete)] = key("train and validation.", reruns="data")
    evaluators: Distinct[str] = key(
        "Names of tasks.control.evaluation.evaluators, which score its images.",
        examples=[["canny", "fid"]],
        reruns="evaluation",
    )


class Hints(Section):
    """The jobs that compute the control images."""

    resources: Resources = key("What they request.", reruns="nothing")


class Generation(Section):
    """Generation of images with DDIM, and the control image in both branches of guidance."""

    shards: Shards = key(
        "Jobs per run, one GPU each, for the same images; auto: one per two hours of work at rows_per_second.",
        reruns="nothing",
    )
    batch_size: PositiveInt = key("Images at a time. Another one changes at most one grey level in float32.")
    inference_steps: PositiveInt = key("DDIM steps.")
    guidance: NonNegativeFloat = key("Scale of classifier-free guidance.")
    prompt_suffix: str = key("Appended to every prompt in generation only; in the official code, `, `.")
    precision: Precision = key("Of weights and computation.")
    resources: Resources = key("What a job requests.", reruns="nothing")


class Evaluation(Section):
    """Scores of the images."""

    evaluators: NonEmpty[Evaluator] = key("The image metrics, of which each dataset names its own.")
    resources: Resources = key("What a job requests.", reruns="nothing")


class Settings(EveryTask, title="tasks.control"):
    """Image generation that a control image guides (Table 4, right)."""

    version: PositiveInt = key("As for every task; the control images are computed again too.", reruns="data")
    resolution: Annotated[int, Field(ge=8)] = key(
        "Pixels; images are centre-cropped to a square and resized.", reruns="data"
    )
    hints: Hints = key(reruns="nothing")
    generation: Generation = key(reruns="evaluation")
    evaluation: Evaluation = key(reruns="evaluation")
