# `hra-workflow smoke`: check the machine before a GPU-hour is spent.
# In:  the config, whose data, grid, presets and missing weights preflight/probe.py replaces.
# Out: results/preflight.json, written after all jobs have ended; the other outputs are then deleted.
# Steps: snakemake -n --config preflight=login -- preflight    sources, disk and scheduler, at the end of a dry run
#        snakemake --config preflight=jobs -- preflight        20 training steps per kind of method, generation, evaluation
#      preflight_{table} instead of preflight: one table.


if config["preflight"]:

    localrules:
        preflight,

    for task in config["tasks"]:
        for table in TASKS[task].tables():

            rule:
                name:
                    f"preflight_{table}"
                input:
                    probe.inputs(config, TASKS[task], table),

    rule preflight:
        input:
            [probe.inputs(config, TASKS[task], table) for task in CHOSEN for table in TASKS[task].tables()],


rule preflight_device:
    output:
        report="<results>/device{gpus}.json",
    log:
        "<logs>/device{gpus}.log",
    wildcard_constraints:
        gpus=r"\d+",
    conda:
        "../envs/hra.yaml"
    threads: lambda wc: max(2, int(wc.gpus))
    resources:
        **on_gpus(lambda wc: int(wc.gpus)),
        nodes=1,
        mem_mb=lambda wc: 4000 * (1 + max(1, int(wc.gpus))),  # a process per GPU, with CUDA's and NCCL's buffers
        runtime=10,
    params:
        device=lambda wc: probe.device(config, int(wc.gpus)),
        scratch=f"{config['pathvars']['scratch']}/device{{gpus}}",
    script:
        "../workflow/scripts/preflight_device.py"
