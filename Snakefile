"""HRA (arXiv 2405.17484): every table of the paper, from the data to the CSV.

download → augment → fine-tune → (generate in shards) → evaluate → table; one file of rules/ per stage,
one of rules/tasks/ per task.
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/glue/datasets.yaml"
configfile: "config/glue/presets.yaml"
configfile: "config/math/datasets.yaml"
configfile: "config/math/presets.yaml"
configfile: "config/subject/datasets.yaml"
configfile: "config/subject/presets.yaml"
configfile: "config/control/datasets.yaml"
configfile: "config/control/presets.yaml"
configfile: "config/config.yaml"
configfile: "config/subject/prompts.yaml"


report: "workflow/report/workflow.rst"


onstart:
    slurm.before_the_first_job(workflow, config)
    plan.start(workflow, config)


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/augment.smk"
include: "rules/train.smk"
include: "rules/generate.smk"
include: "rules/evaluate.smk"
include: "rules/tables.smk"
include: "rules/pretrain.smk"


for task in config["tasks"]:

    include: f"rules/tasks/{task}.smk"


gpu_resources.apply(workflow)


rule all:
    default_target: True
    input:
        collect("<results>/table_{name}.csv", name=[name for task in config["tasks"] for name in TASKS[task].tables()]),
        collect(
            "<results>/figures/{task}_{figure}.png",
            task=config["tasks"],
            figure=["parameters", "lambda", "curves"],
        ),
        [
            f"<results>/sheets/{task}_{dataset}.png"
            for task, entry in config["tasks"].items()
            if "sheets" in entry
            for dataset in grid.datasets(config, task)
        ],
