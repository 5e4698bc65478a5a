# Stage 5, evaluate: one run on one benchmark.
# In:  RUN/train.json and the weights, answers or images to evaluate.
# Out: EVAL/metrics.json (value, standard error, n; the same format for every task) and EVAL/predictions.jsonl.gz, per item.
# Steps: `evaluate` is a template that matches nothing itself; rules/tasks/{task}.smk uses it with
#      `use rule evaluate as evaluate_{task}` and adds the inputs. Paths of conda and script are relative to that file.


rule evaluate:
    input:
        record="<run>/train.json",
    output:
        metrics=f"{EVAL}/metrics.json",
        predictions=f"{EVAL}/predictions.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}.log",
    wildcard_constraints:
        task="(?!)",
    conda:
        "../../envs/hra.yaml"
    threads: task_resource("threads", of="evaluation")
    resources:
        **on_gpus(lambda wc: TASKS[wc.task].evaluation_gpus(wc.dataset)),
        nodes=1,
        mem_mb=task_resource("mem_mb", of="evaluation"),
        runtime=task_resource("runtime", of="evaluation"),
    params:
        **recorded(task_version=lambda wc: config["tasks"][wc.task]["version"]),
        **unrecorded(scratch=f"{SCRATCH}/{{benchmark}}"),
    script:
        "../../workflow/scripts/evaluate_{wildcards.task}.py"
