# Constants and look-up functions shared by the stages.
# In:  the config.  Out: RUN (<run>), EVAL (<eval>), SCRATCH, the list of runs, wildcard constraints.  Steps: check, derive, constrain.

import re
from functools import partial
from pathlib import Path

from hra_workflow import methods, tasks
from hra_workflow.core import grid, tuning
from hra_workflow.core.grid import run_name
from hra_workflow.snakemake_bridge import deployment, downloads, gpu_resources, handlers, identities
from hra_workflow.snakemake_bridge.gpu_resources import on_gpus
from hra_workflow.snakemake_bridge.identities import of, unrecorded
from hra_workflow.tasks import expected_runs, outputs, training, work

config, CHOSEN = deployment.complete_config(workflow, config, BASEDIR, CONFIGS)  # CHOSEN: the tasks of `all`

# Outputs use RUN and EVAL, inputs <run>, <eval>: a rule's constraints do not apply inside a pathvar (Snakemake 9.27).
# SCRATCH, the training checkpoint, is never an output: Snakemake deletes the outputs of a failed job.
RUN, EVAL, SCRATCH, START_SCRATCH = grid.paths(config).values()

IDENTITIES = identities.Identities()
made_from = IDENTITIES.params  # the params of a rule that its results depend on

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
    benchmark=one_of(name for task in config["tasks"] for name in expected_runs.all_benchmarks(TASKS[task])),
    seed=r"\d+",
    shard=r"\d+",
    n_shards=r"\d+",


def model_of(task):
    return f"<resources>/models/{config['tasks'][task]['model']}.manifest.json"


def task_model(wildcards):
    return model_of(wildcards.task)


def initial_adapter(wildcards):
    """Return the manifest of the adapter that a run starts from; trials start from that of their variant."""
    place = f"<resources>/augmented/{{task}}/{{method}}/{tuning.base(wildcards.variant)}/seed{{seed}}/manifest.json"
    return place if methods.get(config, wildcards.method).trains else []


def dataset_entry(wildcards):
    return TASKS[wildcards.task].entry(wildcards.dataset)


def task_head(wildcards):
    return config["models"][config["tasks"][wildcards.task]["model"]].get("head")


def task_version(wildcards):
    return config["tasks"][wildcards.task]["version"]


def benchmark_source(wildcards):
    """Return dataset and split of a benchmark: GLUE's are splits of the training set, the others name both."""
    return dataset_entry(wildcards)["benchmarks"][wildcards.benchmark].split("/")


def benchmark_manifest(wildcards):
    return f"<resources>/datasets/{{task}}/{benchmark_source(wildcards)[0]}.manifest.json"


def method_slice(wildcards):
    """Select the keys of a method."""
    return grid.method(config, wildcards.task, wildcards.method, wildcards.variant, wildcards.get("dataset"))


def of_training(task, wildcards):
    return training.resources(task, run_name(wildcards))


def task_resource(name, default=None, of=of_training, task=None):
    """Look up a resource of a stage: `of` is its key in the task's config, or returns its resources."""

    def resource(wc, attempt=1):
        owner = TASKS[task or wc.task]
        stage = of(owner, wc) if callable(of) else owner.settings[of]["resources"]
        return grid.resource(stage, name, default, attempt)

    return resource


def resources_of(of, task=None, stage=None):
    """Look up the resources of a stage's jobs but threads; `of` as in task_resource; `stage`: named in profiles."""
    resource = {name: task_resource(name, of=of, task=task) for name in ("gpu", "mem_mb", "runtime")}
    resource["gpu_mem_mb"] = gpu_resources.memory(config, stage, task)
    return {"nodes": 1, "stage": stage} | resource | on_gpus(resource["gpu"])


def hyperparameter(name, default=None):
    return lambda wc: grid.hyperparameters(config, wc.task, wc.dataset, run_name(wc)).get(name, default)


def lost_inputs(name):
    """Return the param that remakes a file after the deletion of a result that it was made from."""
    return identities.lost_inputs(workflow, f"{config['pathvars']['results']}/{name}")


def figure(name):
    """Return the two files of a figure."""
    return {f"{name}_{ending}": f"<results>/figures/{{task}}_{name}.{ending}" for ending in ("svg", "png")}
