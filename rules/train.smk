# Stage 3, fine-tune: one job per run, starting from the initial adapter.
# In:  manifests of model, dataset and initial adapter; of a tuned run, the values that its trials chose (rules/tune.smk).
# Out: RUN/train.json (the record) and RUN/last (the trained weights after the last step). A task may add more.
# Steps: `train` is a template that matches nothing itself; rules/tasks/{task}.smk uses it with `use rule train as train_{task}`.
#      Paths of conda and script are relative to that file.
# The training checkpoint is under scratch/: a killed job resumes from it and ends with the same numbers.


rule train:
    input:
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
        augmented=initial_adapter,
        chosen=ancient(lambda wc: tuned_runs.choice(TASKS[wc.task], wc)),
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
    log:
        "<logs>/train/{task}/{dataset}/{method}/{variant}/seed{seed}.log",
    benchmark:
        f"{RUN}/benchmark.tsv"
    wildcard_constraints:
        task="(?!)",
    priority: lambda wc: gpu_resources.priority(RUNS[wc.task], wc)
    conda:
        "../../envs/hra.yaml"
    threads: training_resource("threads")
    resources:
        **on_gpus(training_resource("gpu"), partial(gpu_resources.jobs_per_gpu, config)),
        nodes=1,
        mem_mb=training_resource("mem_mb"),
        runtime=training_resource("runtime"),
        save_seconds=task_resource("save_seconds", 900),
        # Besides the param, in which `auto` equals true: the numbers are the same up to rounding, so it reruns nothing.
        gradient_checkpointing=lambda wc: str(hyperparameter("gradient_checkpointing", False)(wc)),
    params:
        **recorded(
            method=method_slice,
            preset=lambda wc: TASKS[wc.task].preset(run_name(wc)),
            hyperparameters=lambda wc: TASKS[wc.task].training_settings(wc.dataset, run_name(wc)),
            rerun_processes=lambda wc: TASKS[wc.task].processes(run_name(wc)),
            task_version=lambda wc: config["tasks"][wc.task]["version"],
            model_name=lambda wc: config["tasks"][wc.task]["model"],
            device=task_resource("device"),
        ),
        # The runs of a trial up to its rungs continue one training.
        **unrecorded(scratch=lambda wc: SCRATCH.format(**{**wc, "variant": tuning.split(wc.variant)[0]})),
    script:
        "../../workflow/scripts/train_{wildcards.task}.py"
