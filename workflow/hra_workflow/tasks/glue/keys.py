"""The keys of the task glue and of its datasets."""

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import AfterValidator

from hra_workflow.keys.section import Distinct, Name, key
from hra_workflow.keys.texts import Texts, TextTask


def with_train(splits: dict) -> dict:
    if "train" not in splits:
        raise ValueError(f"expected a split train, found {', '.join(splits) or 'none'}")
    return splits


class Dataset(Texts, title="datasets.glue.{name}"):
    """Texts with labels or numbers."""

    splits: Annotated[dict[Name, Distinct[str]], AfterValidator(with_train)] = key(
        "Split → files of the source, in order. A split `train` is needed.",
        examples=[{"train": ["train.csv"], "validation": ["dev.csv"]}],
        reruns="data",
    )
    columns: Annotated[Distinct[str], Len(1, 2)] = key(
        "One or two text columns.", examples=[["sentence"], ["premise", "hypothesis"]], reruns="data"
    )
    label: str = key("Column with the class or the number.", examples=["label"], reruns="data")
    labels: Annotated[Distinct[str], Len(2)] | None = key(
        "Class names in order; the column has them or their indices from 0. null: regression.",
        examples=[["negative", "positive"]],
        reruns="data",
    )
    benchmarks: Annotated[dict[Name, str], Len(1)] = key(
        "Benchmark → split; the first selects the best step, unless `selection` is held-out. A change of the others "
        "repeats evaluations only.",
        examples=[{"validation": "validation"}],
        reruns="training",
    )
    metrics: Distinct[str] = key(
        "METRICS of hra_workflow/tasks/glue/metrics.py, or your own as module:name. f1 is that of the second of two "
        "classes, macro_f1 the mean over the classes that occur.",
        examples=[["accuracy", "f1"]],
        reruns="evaluation",
    )
    score: str = key("The metric that selects the best step.", examples=["accuracy"], reruns="training")


class Settings(TextTask, title="tasks.glue"):
    """Classification of texts, or a number per text (Table 2)."""

    selection: Literal["reported", "held-out"] = key(
        "What selects the checkpoint: the first benchmark, the official code's rule, which is optimistic since the "
        "same rows are reported (`best_on_dev`); or held-out training rows (`best_on_held_out`).",
        default="reported",
        reruns="training",
    )
