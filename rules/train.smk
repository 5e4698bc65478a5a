# Stage 3, fine-tune: one job a run, from the augmented checkpoint.
# In:  manifests of model, dataset and augmented checkpoint.
# Out: RUN/train.json (the record), RUN/last: the weights after the last step; GLUE: RUN/best, those at the best dev score;
#      subjects: RUN/steps, those at the end of each epoch before the last. Control: the adapter with its hint encoder.
# The state of a training lies under scratch/: a job that is killed resumes there, and ends with the same numbers.


rule train_glue:
    input:
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
        augmented="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
        best=f"{RUN}/best/adapter_model.safetensors",
    log:
        "<logs>/train/{task}/{dataset}/{method}/{variant}/seed{seed}.log",
    benchmark:
        "<run>/benchmark.tsv"
    wildcard_constraints:
        task="glue",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads")
    resources:
        nodes=1,
        gpu=task_resource("gpu"),
        mem_mb=task_resource("mem_mb"),
        runtime=task_resource("runtime"),
        save_seconds=task_resource("save_seconds", 900),
    params:
        dataset=dataset_slice,
        method=method_slice,
        head=lambda wc: config["models"][config["tasks"][wc.task]["model"]]["head"],
        preset=lambda wc: grid.preset(config, wc.task, run_name(wc)),
        hyperparameters=lambda wc: grid.hyperparameters(config, wc.task, wc.dataset, run_name(wc)),
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        model_name=lambda wc: config["tasks"][wc.task]["model"],
        device=task_resource("device"),
        scratch=SCRATCH,
    script:
        "../workflow/scripts/train_glue.py"


rule train_math:
    input:
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
        augmented="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
    log:
        "<logs>/train/{task}/{dataset}/{method}/{variant}/seed{seed}.log",
    benchmark:
        "<run>/benchmark.tsv"
    wildcard_constraints:
        task="math",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads")
    resources:
        nodes=1,
        gpu=task_resource("gpu"),
        mem_mb=task_resource("mem_mb"),
        runtime=task_resource("runtime"),
        save_seconds=task_resource("save_seconds", 900),
    params:
        prompt=lambda wc: config["tasks"][wc.task]["prompt"]["template"],
        method=method_slice,
        head=lambda wc: config["models"][config["tasks"][wc.task]["model"]]["head"],
        preset=lambda wc: grid.preset(config, wc.task, run_name(wc)),
        hyperparameters=lambda wc: grid.hyperparameters(config, wc.task, wc.dataset, run_name(wc)),
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        model_name=lambda wc: config["tasks"][wc.task]["model"],
        device=task_resource("device"),
        scratch=SCRATCH,
    script:
        "../workflow/scripts/train_math.py"


rule train_subject:
    input:
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
        augmented="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
        class_images=lambda wc: (
            f"<resources>/class_images/{noun}.tar"
            if (noun := subjects.class_images(config, wc.dataset, run_name(wc)))
            else []
        ),
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
        steps=directory(f"{RUN}/steps"),
    log:
        "<logs>/train/{task}/{dataset}/{method}/{variant}/seed{seed}.log",
    benchmark:
        "<run>/benchmark.tsv"
    wildcard_constraints:
        task="subject",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads")
    resources:
        nodes=1,
        gpu=lambda wc: 0 if method_slice(wc)["kind"] in subjects.IDLE else task_resource("gpu")(wc),
        mem_mb=task_resource("mem_mb"),
        runtime=task_resource("runtime"),
        save_seconds=task_resource("save_seconds", 900),
    params:
        prompts=lambda wc: subjects.training_prompts(config, dataset_entry(wc)["class"]),
        resolution=lambda wc: config["tasks"][wc.task]["resolution"],
        method=method_slice,
        preset=lambda wc: grid.preset(config, wc.task, run_name(wc)),
        hyperparameters=lambda wc: grid.hyperparameters(config, wc.task, wc.dataset, run_name(wc)),
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        model_name=lambda wc: config["tasks"][wc.task]["model"],
        device=task_resource("device"),
        scratch=SCRATCH,
    script:
        "../workflow/scripts/train_subject.py"


rule train_control:
    input:
        model=task_model,
        dataset="<resources>/hints/{dataset}.manifest.json",
        augmented="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
    log:
        "<logs>/train/{task}/{dataset}/{method}/{variant}/seed{seed}.log",
    benchmark:
        "<run>/benchmark.tsv"
    wildcard_constraints:
        task="control",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads")
    resources:
        nodes=1,
        gpu=lambda wc: 0 if method_slice(wc)["kind"] in subjects.IDLE else task_resource("gpu")(wc),
        mem_mb=task_resource("mem_mb"),
        runtime=task_resource("runtime"),
        save_seconds=task_resource("save_seconds", 900),
    params:
        resolution=lambda wc: config["tasks"][wc.task]["resolution"],
        method=method_slice,
        preset=lambda wc: grid.preset(config, wc.task, run_name(wc)),
        hyperparameters=lambda wc: grid.hyperparameters(config, wc.task, wc.dataset, run_name(wc)),
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        model_name=lambda wc: config["tasks"][wc.task]["model"],
        device=task_resource("device"),
        scratch=SCRATCH,
    script:
        "../workflow/scripts/train_control.py"
