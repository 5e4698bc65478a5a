"""The keys of the task math and of its datasets."""

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from hra_workflow.keys.section import (
    Distinct,
    Name,
    Precision,
    Section,
    Seed,
    SplitName,
    Text,
    key,
    matching,
)
from hra_workflow.keys.tasks import Resources, Taken
from hra_workflow.keys.texts import Texts, TextTask

WithQuestion = Annotated[str, matching(r"\{question\}", "a text with {question}")]


class Columns(Section):
    """Name here → name in the source."""

    question: str = key("Column of the questions.", examples=["query"])
    answer: str = key("Column of the answers, with their solutions.", examples=["response"])


class Dataset(Taken, Texts, title="datasets.math.{name}"):
    """Questions and answers, for training if they have `benchmarks`, otherwise as a benchmark."""

    splits: Annotated[dict[Name, Distinct[str]], Len(1)] = key(
        "Split → files of the source, in order.",
        examples=[{"train": ["train.jsonl"], "test": ["test.jsonl"]}],
        reruns="data",
    )
    columns: Columns = key(examples=[{"question": "query", "answer": "response"}], reruns="data")
    answer: Literal["gsm8k", "boxed", "metamath"] = key(
        "How the final answer is marked: `#### N`, `\\boxed{N}` or `The answer is: N`. Without one are at most 1 % of "
        "training rows, and none of a benchmark's.",
        reruns="data",
    )
    max_characters: PositiveInt = key(
        "Skip rows whose question and answer are longer.", absent="none is skipped", reruns="data"
    )
    shuffle: NonNegativeInt = key(
        "Order the rows by datasets' shuffle with this seed, before `take`.", absent="that of the files", reruns="data"
    )
    benchmarks: Annotated[dict[Name, SplitName], Len(1)] = key(
        "Benchmark → dataset/split, of models that are trained on this dataset.",
        absent="nothing is trained on it",
        examples=[{"gsm8k": "gsm8k/test"}],
        reruns="evaluation",
    )
    metrics: Distinct[str] = key(
        "GRADERS of hra_workflow/tasks/math/graders.py, or your own as module:name. strict needs training data with "
        "`answer: metamath`.",
        absent="the dataset has no `benchmarks`",
        examples=[["strict", "lenient"]],
        reruns="evaluation",
    )
    score: str = key(
        "The main metric.",
        absent="the dataset has no `benchmarks`",
        examples=["strict"],
        reruns="evaluation",
    )

    @model_validator(mode="after")
    def has_metrics(self):
        """Check that a dataset with benchmarks has metrics and the main one."""
        missing = [name for name in ("metrics", "score") if getattr(self, name) is None]
        if self.benchmarks and missing:
            raise ValueError(f"expected `{'` and `'.join(missing)}` with `benchmarks`, found none")
        return self


class Prompt(Section):
    """Text around a question in training and generation (docs/config/tasks.md#chat-templates)."""

    template: WithQuestion = key(
        "Text before the response. Alpaca's, as in the official code.",
        examples=["Q: {question}\nA:"],
        reruns="training",
    )
    chat: bool | Literal["auto"] = key(
        "The tokenizer's chat template, with `message`, instead of `template`; auto: if there is one.",
        reruns="training",
    )
    message: WithQuestion = key("The user's message in a chat template.", reruns="training")
    arguments: dict[str, str | int | float | bool] = key(
        "Variables of the chat template: `enable_thinking` is Qwen 3's, `date_string` Llama 3's.", reruns="training"
    )
    evaluation_suffix: str = key(
        "Appended in generation only; in the official code, ` Let's think step by step.`", reruns="evaluation"
    )


class ResourcesOfAugmentation(Section):
    """Resources without a GPU."""

    threads: PositiveInt = key("CPU threads.", default=8)
    mem_mb: Annotated[int, Field(ge=600)] = key("Host memory in MB.", default=48000)
    runtime: PositiveInt = key("Time limit in minutes.", default=90)


class Augmentation(Section):
    """The job that computes an initial adapter from the base model's weights (PiSSA)."""

    resources: ResourcesOfAugmentation = key()


class Generation(Section):
    """Generation of answers. Decoding is greedy, so a base model needs only one seed."""

    shards: PositiveInt = key(
        "Jobs per run, one GPU each, for a part of all benchmarks. The answers do not depend on it.",
        reruns="nothing",
    )
    batch_size: PositiveInt = key("Maximum concurrent answers; fewer if their KV cache would not fit into memory.")
    max_new_tokens: dict[str, PositiveInt] = key(
        "Benchmark → tokens of an answer, for each benchmark of the grid.", examples=[{"test": 256}]
    )
    stop: list[Text] = key("Strings that end an answer, besides the tokens of the model's files.")
    precision: Precision = key("Of the base model's weights.", absent="that of the run's hyper-parameters")
    serve: Literal["adapter", "merged"] = key(
        "The adapter as trained, or merged into the base model's dtype, as in the official evaluation."
    )
    resources: Resources = key("What a job requests.", reruns="nothing")


class Benchmark(Section):
    """A benchmark of lm-evaluation-harness."""

    task: str = key("lm-eval's task name.", examples=["arc_challenge"], reruns="data")
    shots: NonNegativeInt = key("Examples in the prompt; the paper does not specify them.")
    metric: str = key("lm-eval's name of the metric.", examples=["acc"])
    unsafe_code: bool = key(
        "Of a benchmark that executes code written by the model: run it in a sandbox, or skip it "
        "(docs/config/tasks.md#humaneval).",
        absent="a benchmark that executes code is rejected",
        reruns="data",
    )

    @model_validator(mode="after")
    def has_metric_of_code(self):
        """Check the metric of a benchmark that executes code."""
        if self.unsafe_code and not self.metric.startswith(("pass@", "pass_at_")):
            raise ValueError(f"metric: expected pass@k or pass_at_k with `unsafe_code: true`, found {self.metric!r}")
        return self


class Retention(Section):
    """Table 3, with lm-evaluation-harness: what the runs have forgotten. null: no table."""

    dataset: str = key("The dataset that the runs were trained on.")
    base: str = key("The run that the others are compared with.", reruns="table")
    runs: Distinct[str] = key("The rows of the table; runs that are not in the grid are skipped.")
    seeds: Distinct[Seed] = key("The seeds of these runs.")
    batch_size: PositiveInt = key("Requests that are evaluated at a time.", reruns="nothing")
    limit: int | None = key("For a trial run: only the first items of a benchmark.")
    include_path: str | None = key("A folder with your own lm-eval task files.", examples=["my_tasks"], reruns="data")
    resources: Resources = key("What a job requests.", reruns="nothing")
    benchmarks: Annotated[dict[Name, Benchmark], Len(1)] = key(
        "The columns of the table.", examples=[{"ARC": {"task": "arc_challenge", "shots": 25, "metric": "acc"}}]
    )


class Compute(Section):
    """Table 6, time and memory of training. All its runs have the same micro-batch."""

    runs: Distinct[str] = key("The rows of the table; runs that are not in the grid are skipped.")


class Settings(TextTask, title="tasks.math"):
    """Mathematical reasoning with a language model (Figure 1c, Tables 3, 6 and 7)."""

    prompt: Prompt = key()
    augmentation: Augmentation = key(absent="the defaults of its resources", reruns="nothing")
    generation: Generation = key(reruns="evaluation")
    retention: Retention | None = key(default=None, reruns="evaluation")
    compute: Compute = key(absent="no Table 6", reruns="table")
