# Stage 2, augment: insert adapters into the base model (the official tool_add_hra).
# In:  the model's manifest.
# Out: the initial adapter, a PEFT adapter folder with its manifest, once per (task, method, variant, seed): all training runs
#      with these start from it, whatever their dataset.
# Again: if the model, the method or the head has changed.


rule augment:
    input:
        model=task_model,
    output:
        manifest="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
    log:
        "<logs>/augment/{task}/{method}/{variant}/seed{seed}.log",
    conda:
        "../envs/hra.yaml"
    threads: lambda wc: methods.start_resources(config, wc)["threads"]
    resources:
        mem_mb=lambda wc, attempt: methods.start_resources(config, wc, attempt)["mem_mb"],
        runtime=lambda wc: methods.start_resources(config, wc)["runtime"],
    params:
        **made_from(
            "augment",
            before=dict(downloads=downloaded(task_model)),
            method=method_slice,
            head=task_head,
            architecture=lambda wc: TASKS[wc.task].architecture,
            precision=lambda wc: config["tasks"][wc.task]["defaults"].get("precision", "float32"),
            seed="{seed}",
        ),
        **unrecorded(scratch=START_SCRATCH),
    script:
        "../workflow/scripts/augment.py"
