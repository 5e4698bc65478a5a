"""The keys of the top level but datasets, presets and tasks, which depend on the tasks that there are."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from hra_workflow.keys.methods import Method
from hra_workflow.keys.models import Model
from hra_workflow.keys.section import Folder, Name, Section, Text, Unique, key, matching

Digits = Annotated[str, matching(r"^[0-9]+$", "digits, as text")]


class Pathvars(Section):
    """The four folders that the workflow writes to. None may be another one or within it, also through links."""

    results: Folder = key(
        "Runs, tables, figures and reports. After a change, every run is trained again.",
        examples=["reviews/results"],
        reruns="training",
    )
    resources: Folder = key(
        "Downloads, initial adapters and control images, which projects may share "
        "(docs/running.md#sharing-resources). In another folder, they are made again as soon as a job needs them.",
        examples=["/scratch/shared/hra-resources"],
        reruns="data",
    )
    scratch: Folder = key(
        "Training checkpoints and the errors of failed jobs. With another one, a run that is under way starts over.",
        examples=["/local/me/hra-scratch"],
        reruns="nothing",
    )
    logs: Folder = key("A file per job, which no job reads.", examples=["reviews/logs"], reruns="nothing")


class Probes(Section):
    """Differences of the jobs of `preflight` (docs/cluster.md#custom-probes), which commands set."""

    folder: Annotated[str, matching(r"^[\w-]+$", "letters, digits, _ and -")] = key(
        "Name of their folder in each of `pathvars`.", default="preflight"
    )
    steps: Annotated[int, Field(ge=2)] = key("Training steps.", default=20)
    kill_at: PositiveInt = key("Step after which the first run of a task is killed, to resume it.", default=10)
    threads: PositiveInt | None = key("Threads of a job; null: those of the task.", default=None)
    tokens: PositiveInt | None = key("Maximum tokens of an answer; null: that of the task.", default=None)
    models: str | None = key(
        "`module:function`, which returns a model's source by its name, or None for the usual one: the files if all "
        "are there, or random weights.",
        default=None,
        examples=["my_models:source"],
    )
    command: str | None = key(
        "The command that runs the jobs on GPUs and the augmentation, `COMMAND SCRIPT JOB.json OUT.json`.",
        default=None,
        examples=["my-profiler --detailed"],
    )
    report: str = key(
        "`module:function`, which reports the results.",
        default="hra_workflow.preflight.outcomes:finish",
        examples=["my_profiler:report"],
    )


class Request(Section):
    """The run of `hra-workflow export` and `hra-workflow predict`, which set it, and the new inputs."""

    command: Literal["export", "predict"] = key("The command.")
    run: str = key("The run's folder.", absent="the best run of the table", examples=["results/glue/cola/hra/r8/seed0"])
    weights: Annotated[str, matching(r"^(last|best|[0-9]+)$", "last, best or a step")] = key(
        "last, best, or a step of a subject's run.",
        absent="last; without `run`, those that the table reports",
        examples=["last", "1000"],
    )
    seed: Digits = key("Of generated images, as text.", absent="the run's seed", examples=["7"])
    texts: str = key("glue: a file with new texts.", absent="not given", examples=["new.csv"])
    prompts: str = key("Other tasks: a file with new questions or prompts.", absent="not given", examples=["new.csv"])
    images: str = key("control: an image or a folder of them.", absent="not given", examples=["photos"])
    controls: str = key("control: finished control images instead.", absent="not given", examples=["edges"])


class TopLevel(Section, title="Top level"):
    """The config of the HRA workflow."""

    pathvars: Pathvars = key()
    local_root: str = key(
        "The folder that the paths of `local` sources are relative to. Moved, unchanged files repeat nothing.",
        default=".",
        examples=["/data/mine"],
        reruns="nothing",
    )
    preflight: bool = key(
        "Run one short job per stage instead of the grid, as `hra-workflow smoke` does.",
        default=False,
        reruns="nothing",
    )
    probes: Probes = key(default={}, reruns="nothing")
    plan_file: Text | None = key(
        "JSON file to which a dry run writes its jobs instead of the plan (docs/results.md#written-on-request).",
        default=None,
        examples=["plan.json"],
        reruns="nothing",
    )
    request: Request | None = key(default=None, reruns="nothing")
    container: Annotated[str, matching(r"^(/|[a-z]+://)", "an absolute path or a URL")] | None = key(
        "The image for --sdm apptainer, a path or URL (docs/running.md#environments). null: the Python of Snakemake.",
        default=None,
        examples=["/shared/hra.sif"],
        reruns="nothing",
    )
    report_to: Unique[Literal["tensorboard", "wandb", "mlflow"]] = key(
        "Experiment trackers to send training curves to (docs/running.md#experiment-trackers).",
        default=[],
        reruns="nothing",
    )
    incomplete: bool = key(
        "Build tables from the results that exist, and mark the missing ones. Set it on the command line.",
        default=False,
        reruns="table",
    )
    models: dict[Name, Model] = key("The models by name; those of the paper and the demo are in config/config.yaml.")
    methods: dict[Name, Method] = key(
        "The methods by name; those of the paper are in config/methods.yaml.", reruns="training"
    )
