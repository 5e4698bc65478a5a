"""The protocol of evaluators: a class that declares its metrics and needs, and scores images against a reference.

    class Brightness(Evaluator):
        metrics = ("_mean",)

        def score(self, images, reference):
            return Scores({"_mean": [numpy.asarray(image).mean() for image in images]})

The dry run reads `metrics` and `needs`, so a module with such a class imports torch only inside its functions.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Needs:
    """The inputs that an evaluator requires.

    model: weights, as `model` in its config entry. images: `references`, the reference images, with each of which each
    image is compared; or `source`, the image that each control image was computed from. annotation: accepted types of
    the source images' annotations. prompts: one per image. options: additional keys that its entry may have.
    """

    model: bool = False
    images: Literal["references", "source"] | None = None
    annotation: tuple[str, ...] = ()
    prompts: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The reference that images are compared with. Collections can be iterated repeatedly and decode images each time.

    images: RGB, see Needs. annotations: the annotations of each image's source, as read by tasks/control/data.py.
    prompts, class_prompts: with and without the identifier of the subject. prompt_index: one per image. groups: one per
    image, equal for consecutive images of the same prompt and checkpoint step. itself: whether the images are the
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
    """The scores of an evaluator, by the name endings in its `metrics`.

    images: one score per image, or None; the run's metric is their mean. run: `value` and `stderr` of metrics that are
    not means over images.
    """

    images: dict[str, list[float | None]] = field(default_factory=dict)
    run: dict[str, dict[str, float]] = field(default_factory=dict)


class Evaluator:
    """One type of evaluator.

    metrics: endings of its metrics' names, which start with the name of its entry. of_run: those of them that are not
    means over images. better: which of their values are better, lower or higher; empty: a column of the table decides.
    """

    metrics: ClassVar[tuple[str, ...]] = ("",)
    of_run: ClassVar[tuple[str, ...]] = ()
    better: ClassVar[Literal["", "lower", "higher"]] = ""
    needs: ClassVar[Needs] = Needs()

    def __init__(self, entry: dict, folder: Path | None, device: str):
        """Load the model and options of a config entry. `folder`: the model's files, if the entry has a model."""

    def score(self, images: Collection, reference: Reference) -> Scores:
        """Score RGB images, which are decoded during iteration."""
        raise NotImplementedError
