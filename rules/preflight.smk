# `make preflight`: check the machine before a GPU-hour is spent.
# Steps: snakemake -n --config preflight=login -- preflight (or preflight_{table}): sources, disk and scheduler, at the end of a dry run.


if config["preflight"]:

    for table in [table for task in config["tasks"] for table in TASKS[task].tables()]:

        rule:
            name:
                f"preflight_{table}"
            input:
                f"<results>/table_{table}.csv",

    rule preflight:
        input:
            [f"<results>/table_{table}.csv" for task in config["tasks"] for table in TASKS[task].tables()],
