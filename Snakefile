"""HRA (arXiv 2405.17484): every table of the paper, from the data to the CSV.

download → augment → fine-tune → (generate in shards) → evaluate → table; one file of rules/ per stage,
one of rules/tasks/ per task.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


TASK_RULES = sorted(Path(workflow.basedir, "rules/tasks").glob("*.smk"))  # a task has rules and a folder of config/


configfile: Path(workflow.basedir, "config/config.yaml")
configfile: Path(workflow.basedir, "config/methods.yaml")


for task_rules in TASK_RULES:
    for task_config in sorted(Path(workflow.basedir, "config", task_rules.stem).glob("*.yaml")):

        configfile: task_config


report: "workflow/report/workflow.rst"


onstart:
    plan.start(workflow, config)
    slurm.before_the_first_job(workflow, config)
    preflight.start(config)


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/augment.smk"
include: "rules/train.smk"
include: "rules/generate.smk"
include: "rules/evaluate.smk"
include: "rules/tables.smk"
include: "rules/report.smk"
include: "rules/pretrain.smk"
include: "rules/preflight.smk"


for task_rules in TASK_RULES:

    include: task_rules


gpu_resources.apply(workflow)
finished_tables.show_at_exit(workflow)


for task in config["tasks"]:

    rule:
        name:
            task
        input:
            [f"<results>/{name}" for name in TASKS[task].results()],

    rule:
        name:
            f"table_{task}"  # table_retention and table_compute are rules of their own
        input:
            f"<results>/table_{task}.csv",


rule all:
    default_target: True
    input:
        [f"<results>/{name}" for task in CHOSEN for name in TASKS[task].results()],
