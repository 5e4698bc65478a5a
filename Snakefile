"""HRA (arXiv 2405.17484): every table of the paper, from the data to the CSV.

download → augment → fine-tune → (generate in shards) → evaluate → table; one file of rules/ per stage,
one of rules/tasks/ per task.
"""

from snakemake.utils import min_version

min_version("9.27")


include: "rules/installation.smk"


from hra_workflow.config import overlays

TASK_RULES = sorted((BASEDIR / "rules/tasks").glob("*.smk"))
CONFIGS = overlays.shipped(BASEDIR)  # merged by snakemake_bridge/deployment.py, the user's files over them


onstart:
    handlers.start(workflow, config)
    DOWNLOADS.update_links()


onsuccess:
    handlers.end(workflow, config)


onerror:
    handlers.end(workflow, config, failed=True)


include: BASEDIR / "rules/common.smk"
include: BASEDIR / "rules/inputs.smk"


container: config["container"]


include: BASEDIR / "rules/data.smk"
include: BASEDIR / "rules/augment.smk"
include: BASEDIR / "rules/tune.smk"
include: BASEDIR / "rules/train.smk"
include: BASEDIR / "rules/generate.smk"
include: BASEDIR / "rules/evaluate.smk"
include: BASEDIR / "rules/tables.smk"
include: BASEDIR / "rules/use.smk"
include: BASEDIR / "rules/preflight.smk"


for task_rules in TASK_RULES:

    include: task_rules


handlers.register(workflow, config, BASEDIR)


for task in config["tasks"]:

    rule:
        name:
            task
        input:
            [f"<results>/{name}" for name in outputs.results(TASKS[task])],

    rule:
        name:
            f"table_{task}"  # table_retention and table_compute are separate rules
        input:
            f"<results>/table_{task}.csv",


rule all:
    default_target: True
    input:
        [f"<results>/{name}" for task in CHOSEN for name in outputs.results(TASKS[task])],
