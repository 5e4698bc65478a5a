# Stage 3, fine-tune: one job per run, starting from the initial adapter.
# In:  manifests of model, dataset and initial adapter; for a tuned run, the values that its trials chose (rules/tune.smk).
# Out: RUN/train.json (the record) and RUN/last (the trained weights after the last step). A task may add more.
# Steps: `train` is an abstract rule; rules/tasks/{task}.smk inherits from it with `use rule train as train_{task}`.
#      Paths of conda and script are relative to that file.
# Again: if the data, the model or the initial adapter have changed, or the params given to `made_from` (docs/running.md).
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
    threads: task_resource("threads")
    resources:
        **resources_of(of_training, stage="train")
        | on_gpus(task_resource("gpu"), partial(gpu_resources.jobs_per_gpu, config)),
        save_seconds=task_resource("save_seconds", 900),
    params:
        **made_from(
            "train",
            before=dict(
                downloads=downloaded(task_model, "<resources>/datasets/{task}/{dataset}.manifest.json"),
                augmented=of("augment", initial_of),
            ),
            planned=dict(hyperparameters=lambda wc: tuned_runs.hyperparameters_without_choice(TASKS[wc.task], wc)),
            chosen=lambda wc: tuned_runs.choice(TASKS[wc.task], wc),
            method=method_slice,
            hyperparameters=lambda wc: TASKS[wc.task].relevant_hyperparameters(wc.dataset, run_name(wc)),
            processes=lambda wc: training.processes(TASKS[wc.task], run_name(wc)),
            task_version=task_version,
        ),
        **unrecorded(
            preset=lambda wc: training.preset(TASKS[wc.task], run_name(wc)),
            model_name=lambda wc: config["tasks"][wc.task]["model"],
            device=task_resource("device"),
            # These hyper-parameters change results only by rounding.
            gradient_checkpointing=hyperparameter("gradient_checkpointing"),
            eval_batch_size=hyperparameter("eval_batch_size"),
            trackers={"report_to": config["report_to"], "folder": f"{config['pathvars']['logs']}/trackers"},
            scratch=SCRATCH,
        ),
    script:
        "../../workflow/scripts/train_{wildcards.task}.py"
