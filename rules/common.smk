# Constants and look-ups that the stages share.
# In:  the config.  Out: RUN (<run>), EVAL (<eval>), SCRATCH, the list of runs, wildcard constraints.  Steps: check, derive, constrain.

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

OF_A_RUN = "{task}/{dataset}/{method}/{variant}/seed{seed}"
RUN = f"{config['pathvars']['results']}/{OF_A_RUN}"
EVAL = f"{RUN}/{{benchmark}}"
# Resumable training state: never an output, since Snakemake deletes the outputs of a failed job.
SCRATCH = f"{config['pathvars']['scratch']}/{OF_A_RUN}"
START_SCRATCH = f"{config['pathvars']['scratch']}/augmented/{{task}}/{{method}}/{{variant}}/seed{{seed}}"

RUNS = {task: grid.runs(config, task) for task in config["tasks"]}


pathvars:
    run=RUN,
    eval=EVAL,


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


def record_files(wildcards):
    return existing([f"{RUN}/train.json".format(task=wildcards.task, **run) for run in RUNS[wildcards.task]])


def metrics_files(wildcards):
    datasets = config["datasets"][wildcards.task]
    return existing(
        [
            f"{EVAL}/metrics.json".format(task=wildcards.task, benchmark=benchmark, **run)
            for run in RUNS[wildcards.task]
            for benchmark in datasets[run["dataset"]]["benchmarks"]
        ]
    )


def vanished(wildcards):
    """Inputs deleted since the run table was made.

    Snakemake remakes a missing file only for a job that runs: as a param, a missing input makes the job run.
    """
    if not Path(config["pathvars"]["results"], f"runs_{wildcards.task}.csv").exists():
        return []
    return [path for path in record_files(wildcards) + metrics_files(wildcards) if not Path(path).exists()]


def published(name):
    """A file of config/published/, if the task's model is the paper's."""
    return lambda wc: f"config/published/{wc.task}{name}.csv" if config["tasks"][wc.task].get("published") else []


onerror:
    print(
        "Some jobs failed; finished work is kept. Run the same command again to go on (training resumes from its last "
        "saved state), or make the table from what is there: add `--config incomplete=True`."
    )
