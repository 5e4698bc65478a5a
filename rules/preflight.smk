# `hra-workflow smoke`: check the machine before a GPU-hour is spent.
# In:  the config, whose data, grid, presets and missing weights preflight/probe.py replaces.
# Out: results/preflight.json, written after all jobs have ended; the other outputs are then deleted.
# Steps: snakemake --config preflight=True -- preflight    20 training steps per kind of method, generation, evaluation
#      preflight_{table} instead of preflight: the task of one table.


if config["preflight"]:
    from hra_workflow.preflight import probe

    localrules:
        preflight,

    for task in config["tasks"]:
        for table in TASKS[task].tables():

            rule:
                name:
                    f"preflight_{table}"
                input:
                    probe.inputs(config, TASKS[task]),

    rule preflight:
        input:
            [probe.inputs(config, TASKS[task]) for task in CHOSEN],
