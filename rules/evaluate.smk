# Stage 5, evaluate: one run on one benchmark.
# In:  RUN/train.json and the weights, answers or images to evaluate.
# Out: EVAL/metrics.json (value, standard error, n; the same format for every task) and EVAL/predictions.jsonl.gz, per item.
# Steps: `evaluate` is an abstract rule; rules/tasks/{task}.smk inherits from it with `use rule evaluate as evaluate_{task}`
#      and adds the inputs. Paths of conda and script are relative to that file.
# Again: after the run is trained or its outputs are generated again, or if an evaluator or its settings have changed.


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
    threads: task_resource("threads", of=evaluation)
    resources:
        **resources_of(evaluation, stage="evaluate"),
    params:
        **made_from("evaluate", before=dict(record=of(train_rule, run_of)), task_version=task_version),
        **unrecorded(scratch=f"{SCRATCH}/{{benchmark}}", device=task_resource("device", of=evaluation)),
    script:
        "../../workflow/scripts/evaluate_{wildcards.task}.py"
