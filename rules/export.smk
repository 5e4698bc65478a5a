# Beside the chain, on request: a whole Stable Diffusion in one file, in the layout of the official control scripts.
# In:  the model, and the weights of an augmented checkpoint (what tool_add_hra.py writes) or of a run (what train.py does).
# Out: official.ckpt or official.safetensors beside these weights, 4 GB each. No table needs them:
#      snakemake --cores 1 results/control/ade20k/hra/r8/seed0/official.ckpt


rule export_augmented:
    input:
        model=task_model,
        manifest="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/manifest.json",
    output:
        checkpoint="<resources>/augmented/{task}/{method}/{variant}/seed{seed}/official.{ending}",
    log:
        "<logs>/export/{task}/{method}/{variant}/seed{seed}.{ending}.log",
    wildcard_constraints:
        task="control",
        ending="ckpt|safetensors",
    conda:
        "../envs/hra.yaml"
    threads: 1
    resources:
        mem_mb=32000,
        runtime=30,
    params:
        method=method_slice,
        weights=lambda wc, input: input.manifest.replace("manifest.json", "adapter_model.safetensors"),
    script:
        "../workflow/scripts/export_checkpoint.py"


rule export_run:
    input:
        model=task_model,
        last="<run>/last/adapter_model.safetensors",
    output:
        checkpoint=f"{RUN}/official.{{ending}}",
    log:
        "<logs>/export/{task}/{dataset}/{method}/{variant}/seed{seed}.{ending}.log",
    wildcard_constraints:
        task="control",
        ending="ckpt|safetensors",
    conda:
        "../envs/hra.yaml"
    threads: 1
    resources:
        mem_mb=32000,
        runtime=30,
    params:
        method=method_slice,
        weights=lambda wc, input: input.last,
    script:
        "../workflow/scripts/export_checkpoint.py"
