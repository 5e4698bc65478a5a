"""The keys of a model."""

from typing import Literal

from hra_workflow.keys.section import NonEmpty, key
from hra_workflow.keys.sources import ModelSource
from hra_workflow.keys.tasks import Downloaded


class Model(Downloaded, title="models.{name}"):
    """A model that a task fine-tunes or an evaluator uses."""

    source: ModelSource = key("Where the files come from.", reruns="data")
    architecture: str = key(
        "subject, control: stable-diffusion (1.x, 2.x), stable-diffusion-xl or flux2-klein, whose lists of targets "
        "(`attention`, `all_linear`, and `paper`, which is `attention`) are known.",
        absent="that of the files",
        examples=["stable-diffusion-xl"],
        reruns="training",
    )
    head: list[str] = key(
        "Modules trained together with the adapter, by the ends of their paths. Set it only if the automatic choice is "
        "wrong for your checkpoint.",
        absent="of a classifier, what the checkpoint lacks; if it lacks nothing, everything outside the encoder",
        examples=[["classifier", "pooler.dense"]],
        reruns="training",
    )
    targets: dict[str, NonEmpty[str] | Literal["all-linear", "default"]] = key(
        "Named lists of modules that get adapters: ends of paths, in which `*` stands for anything; all-linear: all "
        "but head and output layer; default: PEFT's. A layer that shares its weight with the embeddings is rejected.",
        examples=[{"paper": ["q_proj", "v_proj"], "all_linear": "all-linear"}],
        reruns="training",
    )
