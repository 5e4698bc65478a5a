"""The protocol of evaluators: a class that names its metrics and its needs, and scores images against a reference.

    class Brightness(Evaluator):
        metrics = ("_mean",)

        def score(self, images, reference):
            return Scores({"_mean": [numpy.asarray(image).mean() for image in images]})

The dry run reads `metrics` and `needs`, so a module with such a class imports torch inside of its functions only.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Needs:
    """What an evaluator cannot work without.

    model: weights, as `model` in its entry of the config. images: the reference images of a `subject`, to all of which
    each image is compared; or of each image its `source`, from which its control image was computed. annotation: of
    the source images, one of these types. prompts: of each image. options: further keys that its entry may have.
    """

    model: bool = False
    images: Literal["subject", "source"] | None = None
    annotation: tuple[str, ...] = ()
    prompts: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """What the images are compared with. Collections may be iterated again, and decode their images each time.

    images: RGB, see Needs. annotations: for each image, of its source, as tasks/control/data.py reads them.
    prompts, class_prompts: with and without the identifier of the subject; prompt_index: for each image. groups: for
    each image, equal for those of one prompt and checkpoint step, which follow each other. itself: the images are the
    reference images, in the same order.
    """

    images: Collection = ()
    annotations: Collection = ()
    prompts: Sequence[str] = ()
    class_prompts: Sequence[str] = ()
    prompt_index: Sequence[int] = ()
    groups: Sequence[Hashable] = ()
    itself: bool = False


@dataclass(frozen=True)
class Scores:
    """What an evaluator measures, by the endings in its `metrics`.

    images: a score per image, None where it has none; the run's metric is their mean. run: `value` and `stderr` of
    metrics that are not a mean over images.
    """

    images: dict[str, list[float | None]] = field(default_factory=dict)
    run: dict[str, dict[str, float]] = field(default_factory=dict)


class Evaluator:
    """One type of evaluator. `metrics`: endings of its metrics' names, which begin with the name of its entry."""

    metrics: ClassVar[tuple[str, ...]] = ("",)
    needs: ClassVar[Needs] = Needs()

    def __init__(self, entry: dict, folder: Path | None, device: str):
        """Load what the entry of the config names; `folder`: of the model's files, if the entry has a model."""

    def score(self, images: Collection, reference: Reference) -> Scores:
        """Score RGB images, which are decoded as they are iterated."""
        raise NotImplementedError
