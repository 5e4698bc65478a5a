# Stage 5, evaluate: the weights of a run, last and best on dev, on one benchmark. (Stage 4 generates; GLUE has none.)
# In:  RUN/train.json, RUN/last, RUN/best, manifests of model and dataset.
# Out: EVAL/metrics.json (value, standard error, n) and EVAL/predictions.jsonl.gz, item by item.


rule evaluate_glue:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        best="<run>/best/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    output:
        metrics="<eval>/metrics.json",
        predictions="<eval>/predictions.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}.log",
    wildcard_constraints:
        task="glue",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads")
    resources:
        nodes=1,
        gpu=lambda wc: min(1, task_resource("gpu")(wc)),
        mem_mb=task_resource("mem_mb"),
        runtime=60,
    params:
        dataset=dataset_slice,
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device"),
        scratch=f"{SCRATCH}/{{benchmark}}",
    script:
        "../workflow/scripts/evaluate_glue.py"
