# Constants and look-up functions shared by the stages.
# In:  the config.  Out: RUN (<run>), EVAL (<eval>), SCRATCH, the list of runs, wildcard constraints.  Steps: check, derive, constrain.

import re
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

from hra_workflow import methods, tasks
from hra_workflow.config import validation
from hra_workflow.core import early_evaluations, grid, launcher, rewound, tuning
from hra_workflow.core.errors import JobError
from hra_workflow.core.grid import run_name
from hra_workflow.preflight import parts as preflight
from hra_workflow.snake import deployment, final_errors, finished_downloads, finished_tables, gpu_resources, noted_runs
from hra_workflow.snake import recorded_inputs, recorded_params
from hra_workflow.snake.recorded_params import recorded, unrecorded
from hra_workflow.tasks import expected_runs, reported

try:
    config, CHOSEN = deployment.settle(workflow, config, BASEDIR, CONFIGS)  # CHOSEN: the tasks of `all`
    validation.check(config)
    deployment.enter_container(workflow, config["container"], BASEDIR)
except JobError as problem:
    raise WorkflowError(str(problem)) from None
preflight.enter(workflow, config)  # part `jobs` replaces the config

# Outputs use RUN and EVAL, inputs <run>, <eval>: a rule's constraints do not apply inside a pathvar (Snakemake 9.27).
# SCRATCH, the training checkpoint, is never an output: Snakemake deletes the outputs of a failed job.
RUN, EVAL, SCRATCH, START_SCRATCH = grid.places(config).values()

TASKS = tasks.load(config)
RUNS = {task: grid.runs(config, task) for task in config["tasks"]}


def one_of(names):
    """Build a regular expression that matches these names."""
    return "|".join(sorted(map(re.escape, set(names))))


pathvars:
    run=RUN,
    eval=EVAL,


wildcard_constraints:
    task="|".join(config["tasks"]),
    dataset=one_of(name for task in config["datasets"].values() for name in task),
    model=one_of(config["models"]),
    method=one_of(config["methods"]),
    variant=f"({one_of(name for method in config['methods'].values() for name in method['variants'])}){tuning.VARIANT}",
    benchmark=one_of(name for task in config["tasks"] for name in TASKS[task].benchmarks()),
    seed=r"\d+",
    shard=r"\d+",
    n_shards=r"\d+",


def task_model(wildcards):
    return f"<resources>/models/{config['tasks'][wildcards.task]['model']}.manifest.json"


def initial_adapter(wildcards):
    """Return the manifest of the adapter that a run starts from; trials start from that of their variant."""
    place = f"<resources>/augmented/{{task}}/{{method}}/{tuning.base(wildcards.variant)}/seed{{seed}}/manifest.json"
    return place if methods.of(config, wildcards.method).trains else []


def dataset_entry(wildcards):
    return TASKS[wildcards.task].dataset(wildcards.dataset)


def benchmark_source(wildcards):
    """Return dataset and split of a benchmark: GLUE's are splits of the training set, the others name both."""
    return dataset_entry(wildcards)["benchmarks"][rewound.split(wildcards.benchmark)[0]].split("/")


def benchmark_manifest(wildcards):
    return f"<resources>/datasets/{{task}}/{benchmark_source(wildcards)[0]}.manifest.json"


def dataset_slice(wildcards):
    """Select the keys of a dataset's entry that a run reads, for a trial without what is reported."""
    entry = dataset_entry(wildcards) | ({"benchmarks": {}} if tuning.MARK in wildcards.variant else {})
    return {key: entry[key] for key in ("columns", "labels", "benchmarks", "metrics", "score")}


def method_slice(wildcards):
    """Select the keys of a method; those of rewound weights have their strength too."""
    _, strength = rewound.split(wildcards.get("benchmark") or wildcards.get("answers", ""))
    found = grid.method(config, wildcards.task, wildcards.method, wildcards.variant, wildcards.get("dataset"))
    return found | ({"strength": strength} if strength else {})


def task_resource(name, default=None, of=None):
    """Look up a resource of the task's training jobs, or of the stage `of`, in the config."""

    def resource(wc, attempt=1):
        stated = config["tasks"][wc.task][of]["resources"] if of else TASKS[wc.task].training_resources(run_name(wc))
        return grid.resource(stated, name, default, attempt)

    return resource


def training_resource(name):
    """Look up a resource of training jobs; a run that trains nothing only checks its inputs, on one core."""
    stated, most = task_resource(name), {"gpu": 0, "threads": 1, "mem_mb": 4000, "runtime": 60}[name]
    idle = lambda wc: not methods.of(config, wc.method).trains
    return lambda wc, attempt=1: min(stated(wc, attempt), most) if idle(wc) else stated(wc, attempt)


def hyperparameter(name, default=None):
    return lambda wc: grid.hyperparameters(config, wc.task, wc.dataset, run_name(wc)).get(name, default)


def existing(file, task, runs, benchmark=None):
    """List a file of every run; with `incomplete: true`, only the files that exist."""
    paths = [file.format(**{"task": task, "benchmark": benchmark} | run) for run in runs]
    return [path for path in paths if Path(path).exists()] if config["incomplete"] else paths


def unnoted(name):
    """Return an input function that adds nothing, but has a table made again if Snakemake has no metadata of it."""
    return lambda wc: recorded_inputs.unnoted(workflow, f"{config['pathvars']['results']}/{name}.csv".format(**wc))


def record_files(wildcards):
    return existing(f"{RUN}/train.json", wildcards.task, RUNS[wildcards.task])


def metrics_files(wildcards, of=expected_runs.evaluations):
    return existing(f"{EVAL}/metrics.json", wildcards.task, of(TASKS[wildcards.task]))


def shards_of(wildcards, merged):
    """List the shards that are merged to a file of a run's evaluation: a finished one keeps their number."""
    path, number = f"{EVAL}/{merged}".format(**wildcards), partial(TASKS[wildcards.task].shards, dict(wildcards))
    return recorded_inputs.shards(workflow, path, number)


def published(name, task=None):
    """Return a file of config/published/ if the task's model is the paper's."""

    def path(wildcards):
        of = task or wildcards.task
        file = BASEDIR / "config/published" / f"{name.format(task=of)}.csv"
        return deployment.near(file) if config["tasks"][of].get("published") else []

    return path
