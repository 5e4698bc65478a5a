"""The keys that every task and its datasets have, and those that several share."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from hra_workflow.keys.hyperparameters import Hyperparameters
from hra_workflow.keys.section import (
    Distinct,
    Function,
    Line,
    NonEmpty,
    Run,
    Section,
    Seed,
    Text,
    Unique,
    key,
    matching,
)
from hra_workflow.keys.sources import Source

PerGPU = Annotated[int, Field(ge=1, le=6)]


class Resources(Section, title="resources"):
    """Resources of a job: of a training in `tasks.{task}.resources`, of another stage in that stage's `resources`."""

    gpu: NonNegativeInt = key(
        "GPUs of a training job; 0: CPU. Other stages use one or none. The results of glue and math depend on the "
        "number of processes: a change from or to more than 1 repeats their training."
    )
    device: Literal["cuda", "cpu"] = key(
        "cpu with gpu > 1: that many processes with gloo, to try several without a GPU.",
        absent="cuda if gpu > 0, otherwise cpu",
    )
    max_gpu: dict[str, PositiveInt] = key(
        "Training only: method or method/variant → use at most this many of the GPUs, with threads and mem_mb in "
        "proportion.",
        default={},
        examples=[{"boft": 2}],
    )
    runs_per_gpu: PerGPU | dict[str, PerGPU] = key(
        "Training only: runs that share a GPU as processes of one job, one number or by method/variant, method and "
        "`default`; the other resources are those of one run (docs/cluster.md#several-runs-on-one-gpu).",
        default=1,
        examples=[3, {"default": 3, "boft": 2}],
    )
    threads: PositiveInt = key("CPU threads.")
    mem_mb: Annotated[int, Field(ge=600)] = key("Host memory in MB; each retry adds half of it.")
    runtime: PositiveInt = key("Time limit in minutes, before which training saves a checkpoint for a retry.")
    save_seconds: Annotated[int, Field(ge=10)] = key(
        "Training only: seconds between training checkpoints.", default=900
    )
    rows_per_second: PositiveFloat = key(
        "For estimates: rows that one GPU trains on or generates per second, all its runs together, until there are "
        "measurements (docs/running.md#estimates).",
        absent="no estimate before a job of this kind has run",
    )
    minutes: PositiveFloat = key("For estimates: minutes per job.", absent="`rows_per_second`")


class Downloaded(Section, title="files: keys of models and datasets"):
    """Files that are downloaded."""

    source: Source = key("Where the files come from.", reruns="data")
    gigabytes: PositiveFloat = key("Size, for the plan before the download.", absent="not counted", reruns="nothing")
    license: Line = key(
        "Of the files, in one line, for the plan, the manifest and the card of an exported model.",
        absent="not stated",
        examples=["Apache-2.0"],
        reruns="nothing",
    )


class Rows(Downloaded, title=""):
    """Files with rows, by split."""

    rows: dict[str, int] = key(
        "Expected rows per split, which are checked; the plan's hours need them before the download.",
        absent="not checked",
        examples=[{"train": 67349, "validation": 872}],
        reruns="data",
    )


class Taken(Rows, title=""):
    """Files of which a part may be used."""

    take: dict[str, PositiveInt] = key(
        "Split → use only its first N rows, after `rows` is checked.",
        absent="all rows",
        examples=[{"train": 1000}],
        reruns="data",
    )


class GridBlock(Section):
    """All combinations of its lists."""

    runs: NonEmpty[str] = key("Variants, as method/variant.", examples=[["lora/r8", "hra/r8"]])
    datasets: NonEmpty[str] = key("Datasets of the task that are trained on.", examples=[["cola", "rte"]])
    seeds: NonEmpty[Seed] = key("Several give a mean ± standard deviation.")


class Column(Section):
    """A column of the table."""

    name: Line = key(
        "Heading, unique; config/README.md#names lists the endings that it cannot have.", examples=["CoLA"]
    )
    dataset: str = key(
        "The dataset whose runs it shows.", absent="the mean over all datasets of the grid", examples=["cola"]
    )
    benchmark: str = key(
        "Of the dataset; or `training`, whose metrics are `seconds`, `device_seconds`, `peak_memory_bytes` and "
        "`trainable_parameters`; or `general_text` (docs/config/tasks.md#what-is-forgotten).",
        examples=["validation"],
    )
    metric: str = key("A metric of the benchmark.", examples=["matthews_correlation"])
    better: Literal["higher", "lower"] = key("Which values are better; the table marks the best.", default="higher")
    scale: PositiveFloat = key("Factor of the values.", absent="glue and math: 100 (percent); subject and control: 1")
    digits: Annotated[int, Field(ge=0, le=6)] = key("Decimals.", absent="2 in percent, otherwise 3")
    minus: Run = key(
        "A run of the grid whose mean is subtracted, such as the base model.",
        absent="nothing is subtracted",
        examples=["base/pretrained"],
    )


class Average(Section):
    """A column with the mean of others."""

    name: Line = key("Heading, unique.", examples=["All"])
    columns: Distinct[str] = key("Columns with one `scale` and one `better`.", examples=[["CoLA", "RTE"]])


class Published(Section):
    """true: compare with the paper's numbers; false: with none; a mapping: with those of another source."""

    file: Annotated[str, matching(r"\.csv$", "the path of a .csv file")] = key(
        "Path of a CSV file with the columns of config/published/math.csv, relative to the working directory or else "
        "to the workflow's folder.",
        examples=["others/results.csv"],
    )
    label: Text = key("Name of the source in the table.", examples=["PEFT"])
    noise: dict[str, NonNegativeFloat] = key(
        "Column → the largest difference that its source calls noise; a note names larger ones.",
        default={},
        examples=[{"GSM8K": 1.5}],
    )
    notes: list[str] = key("What readers need to compare the two.", examples=[["PEFT's runs used one seed."]])


class Figures(Section):
    """Columns or averages to plot, one panel each."""

    parameters: Distinct[str] = key("Of the figures over parameters and cost.", examples=[["CoLA"]])
    lambda_: Unique[str] = key(
        "Of the figure over λ, which needs several λ in the grid.", alias="lambda", examples=[["CoLA"]]
    )


class EveryTask(Section, title="tasks.{task}: keys of every task"):
    """The experiment of a task."""

    version: PositiveInt = key(
        "Raise it in a commit that changes the results of the task's training or evaluation: finished runs are "
        "repeated.",
        reruns="training",
    )
    class_: str = key(
        "A class derived from the task's, `module:Class` (docs/extending.md#a-task-that-differs).",
        alias="class",
        absent="the task's class",
        examples=["my_tasks:MyMath"],
        reruns="nothing",
    )
    model: str = key(
        "The model that is fine-tuned, one of `models`. With another than the paper's, set `published` to false.",
        examples=["deberta-v3-base"],
        reruns="training",
    )
    preset: str | dict[str, str] = key(
        "The named hyper-parameters of all runs, or by `method/variant`, `method` and `default`.",
        examples=["code-head", {"default": "adalora-scripts", "hra": "code-head"}],
        reruns="training",
    )
    grid: NonEmpty[GridBlock] = key(
        "The runs, in the order of the table's rows. A run that is listed twice counts once.",
        examples=[[{"runs": ["lora/r8", "hra/r8"], "datasets": ["cola", "rte"], "seeds": [0, 1, 2]}]],
        reruns="training",
    )
    defaults: Hyperparameters = key("Hyper-parameters that a preset may override.", reruns="training")
    resources: Resources = key("What a training run requests.", reruns="nothing")
    columns: NonEmpty[Column] = key(
        "Columns of the table. A file with `columns` also replaces `averages` and `figures`.", reruns="table"
    )
    averages: list[Average] = key("Average columns, after the others.", default=[], reruns="table")
    published: bool | Published = key(
        "true: compare with the paper's numbers in config/published/; a mapping: with those of another source.",
        default=False,
        reruns="table",
    )
    reference: Run | None = key(
        "The run of the grid that the trained runs are compared with; null: the best baseline of each column, a "
        "trained run that is not HRA, or else the base model (docs/results.md#verdicts).",
        default=None,
        examples=["lora/r8"],
        reruns="table",
    )
    figures: Figures = key(reruns="table")


class Evaluator(Section, title="evaluators"):
    """An image metric."""

    name: Annotated[str, matching(r"^[a-z][a-z0-9_]*$", "lower-case letters, digits and _, first a letter")] = key(
        "Prefix of its metrics, unique.", examples=["dino"]
    )
    kind: str = key(
        "A type of hra_workflow/evaluators/registry.py, or module:Class (docs/config/tasks.md#image-metrics).",
        examples=["dino", "my_metrics:Brightness"],
    )
    version: PositiveInt = key(
        "Raise it after a change of a custom class, whose evaluations then run again.",
        absent="a change repeats nothing",
    )
    model: str = key("The entry of models that it reads.", absent="it needs none", examples=["dino-vits16"])
    crop: Function = key(
        "dino, clip, efficientnet-lite0: `module:function` from an image to the part that is compared.",
        absent="the whole image",
        examples=["my_crops:centre"],
    )
    config: str = key(
        "segformer-mmseg: a config file, or the name of one in the package.",
        absent="SegFormer-B4 on ADE20K",
        examples=["my_segformer.py"],
    )
