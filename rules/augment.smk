# Stage 2, augment: insert adapters into the base model (the official tool_add_hra).
# In:  the model's manifest.
# Out: the initial adapter, a PEFT adapter folder with its manifest, once per (task, method, variant, seed): all training runs
#      of the task start from it, independent of the dataset.


def start_resource(name):
    def resource(wildcards, attempt=1):
        stated = methods.start_resources(config, wildcards.task, wildcards.method, wildcards.variant)
        return grid.resource(stated, name, None, attempt)

    return resource


rule augment:
    input:
        model=task_model,
    output:
        manifest="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
    log:
        "<logs>/augment/{task}/{method}/{variant}/seed{seed}.log",
    conda:
        "../envs/hra.yaml"
    threads: start_resource("threads")
    resources:
        mem_mb=start_resource("mem_mb"),
        runtime=start_resource("runtime"),
    params:
        method=method_slice,
        head=lambda wc: config["models"][config["tasks"][wc.task]["model"]]["head"],
        architecture=lambda wc: TASKS[wc.task].architecture,
        precision=lambda wc: config["tasks"][wc.task]["defaults"].get("precision", "float32"),
        seed="{seed}",
        scratch=START_SCRATCH,
    script:
        "../workflow/scripts/augment.py"
