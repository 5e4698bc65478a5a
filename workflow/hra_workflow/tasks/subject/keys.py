"""The keys of the task subject and of its datasets."""

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from hra_workflow.keys.section import Distinct, Name, NonEmpty, Precision, Section, Shards, Text, key, matching
from hra_workflow.keys.sources import Source
from hra_workflow.keys.tasks import Downloaded, Evaluator, EveryTask, Resources

PromptOfSubject = Annotated[str, matching(r"\{subject\}", "a prompt with {subject}")]


class Dataset(Downloaded, title="datasets.subject.{name}"):
    """A subject: a folder of a few images."""

    source: Source = key(
        "JPEG, PNG, WebP, BMP or TIFF, of at least `resolution` pixels, rotated by their EXIF tag; other formats are "
        "skipped with a warning.",
        reruns="data",
    )
    class_: Annotated[str, matching("[A-Za-z0-9]", "a noun with a letter or digit")] = key(
        "The noun in the prompts. Subjects with the same noun share its class images.",
        alias="class",
        examples=["stuffed animal"],
        reruns="training",
    )
    prompts: str = key(
        "The list of `tasks.subject.prompts` of which images are generated.",
        absent="the captions of split test",
        examples=["live"],
        reruns="evaluation",
    )
    captions: NonEmpty[PromptOfSubject] = key(
        "One per image, in the order of the files' names, instead of training_prompt.",
        absent="`tasks.subject.training_prompt`",
        examples=[["{subject} on grass", "{subject} in a basket"]],
        reruns="data",
    )
    splits: Annotated[dict[Name, NonEmpty[NonNegativeInt]], Len(1)] = key(
        "With captions: indices of images, from 0, that are not trained on. Those of test are compared with the images "
        "that are generated from their captions.",
        absent="all images are trained on",
        examples=[{"test": [4, 5]}],
        reruns="training",
    )


class ClassImages(Section):
    """Images of the class by the base model, for all runs with a `prior_weight`, without the safety checker."""

    images: PositiveInt = key("Number per class.")
    scheduler: Literal["model", "dpm-solver++"] = key("model: that of the model's files.")
    inference_steps: PositiveInt = key("Denoising steps per image.")


class Generation(Section):
    """Generation of images with DPM-Solver++ (FLUX.2: with the pipeline's scheduler)."""

    shards: Shards = key(
        "Jobs per run, one GPU each, for the same images; auto: one per two hours of work at rows_per_second.",
        reruns="nothing",
    )
    epochs: Literal["all", "last"] = key("Whose checkpoints generate. With last, tables have no `best_on_test`.")
    images: PositiveInt = key("Per prompt.")
    batch_size: PositiveInt = key(
        "Images at a time, also for the class images. Another one changes at most one grey level in float32.",
        reruns="training",
    )
    inference_steps: PositiveInt = key("Denoising steps per image.")
    guidance: NonNegativeFloat = key("Scale of classifier-free guidance, also for the class images.", reruns="training")
    safety_checker: bool = key(
        "Unsafe images become black and are counted instead of scored; only Stable Diffusion 1.x and 2.x have one."
    )
    precision: Precision = key("Of weights and computation, also for the class images.", reruns="training")
    resources: Resources = key("What a job requests.", reruns="nothing")


class Evaluation(Section):
    """Scores of the images."""

    prompts: Literal["own", "official"] = key(
        "What CLIP-T compares an image with: its prompt, or the list `live` for every subject, as the official code."
    )
    best_by: Distinct[str] = key(
        "Metrics that select the step of best_on_test, by their sum, each divided by its range over the steps."
    )
    evaluators: NonEmpty[Evaluator] = key("The image metrics.")
    resources: Resources = key("What a job requests.", reruns="nothing")


class Settings(EveryTask, title="tasks.subject"):
    """Subject-driven image generation, DreamBooth (Table 4, left)."""

    identifier: Text = key(
        "The rare token that training binds to the subject; {subject} in prompts is it and the class noun.",
        reruns="training",
    )
    training_prompt: PromptOfSubject = key(
        "Of the subject images; without the identifier, of the class images.", reruns="training"
    )
    prompts: Annotated[dict[str, Annotated[Distinct[PromptOfSubject], Len(1, 100)]], Len(1)] = key(
        "Named lists, of which each subject names one.",
        examples=[{"mine": ["{subject} on the moon", "a painting of {subject}"]}],
        reruns="evaluation",
    )
    resolution: Annotated[int, Field(ge=8)] = key("Pixels, in training and generation.", reruns="data")
    text_layers: NonEmpty[NonNegativeInt] = key(
        "FLUX.2: layers of the text encoder that condition the network.",
        absent="those of diffusers' pipeline, [9, 18, 27]",
        reruns="training",
    )
    class_images: ClassImages = key(reruns="training")
    generation: Generation = key(reruns="evaluation")
    evaluation: Evaluation = key(reruns="evaluation")
