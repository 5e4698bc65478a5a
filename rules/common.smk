# Constants and look-ups that the stages share.
# In:  the config.  Out: RUN, EVAL, SCRATCH, the list of runs, wildcard constraints.  Steps: check, derive, constrain.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "workflow", "scripts")))

from common import config as grid
from common.job import JobError

try:
    grid.check(config)
except JobError as problem:
    raise WorkflowError(str(problem)) from None

RUN = "<results>/{task}/{dataset}/{method}/{variant}/seed{seed}"
EVAL = RUN + "/{benchmark}"
# Resumable training state: never an output, since Snakemake deletes the outputs of a failed job.
SCRATCH = RUN.replace("<results>", config["pathvars"]["scratch"])

RUNS = {task: grid.runs(config, task) for task in config["tasks"]}


wildcard_constraints:
    task="|".join(config["tasks"]),
    dataset="|".join({name for task in config["datasets"].values() for name in task}),
    model="|".join(config["models"]),
    method="|".join(config["methods"]),
    variant="|".join({name for method in config["methods"].values() for name in method["variants"]}),
    benchmark="|".join(
        {name for task in config["datasets"].values() for entry in task.values() for name in entry["benchmarks"]}
    ),
    seed=r"\d+",


def run_name(wildcards):
    return f"{wildcards.method}/{wildcards.variant}"


def task_model(wildcards):
    return f"<resources>/models/{config['tasks'][wildcards.task]['model']}.manifest.json"


def dataset_entry(wildcards):
    return config["datasets"][wildcards.task][wildcards.dataset]


def dataset_slice(wildcards):
    """What training and evaluation read of a dataset's entry; where it comes from is the manifest's business."""
    entry = dataset_entry(wildcards)
    return {key: entry[key] for key in ("columns", "labels", "benchmarks", "metrics", "score")}


def method_slice(wildcards):
    return grid.method(config, wildcards.task, wildcards.method, wildcards.variant)


def task_resource(name, default=None):
    """A resource of the task's trainings, as the config states it."""
    return lambda wildcards: config["tasks"][wildcards.task]["resources"].get(name, default)


def existing(paths):
    """All paths; under `incomplete: true` those that are there."""
    return [path for path in paths if Path(path).exists()] if config["incomplete"] else paths


def in_results(path):
    return path.replace("<results>", config["pathvars"]["results"])


def record_files(wildcards):
    return existing([in_results(RUN).format(task=wildcards.task, **run) + "/train.json" for run in RUNS[wildcards.task]])


def metrics_files(wildcards):
    datasets = config["datasets"][wildcards.task]
    return existing(
        [
            in_results(EVAL).format(task=wildcards.task, benchmark=benchmark, **run) + "/metrics.json"
            for run in RUNS[wildcards.task]
            for benchmark in datasets[run["dataset"]]["benchmarks"]
        ]
    )


onerror:
    print(
        "Some jobs failed; finished work is kept. Run the same command again to go on (training resumes from its last "
        "saved state), or make the table from what is there: add `--config incomplete=True`."
    )
