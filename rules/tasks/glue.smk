# GLUE: a classifier is fine-tuned per dataset; its last checkpoint and the best one on dev are evaluated.
# In:  manifests of the model, the dataset and the initial adapter.
# Out: RUN/train.json, RUN/last, RUN/best (the weights with the best dev score), RUN/scores (of both, for each item of the
#      benchmarks), EVAL/metrics.json per benchmark.
# Steps: train, evaluate. The training job computes the scores while it has a GPU; evaluate_glue computes metrics from them, on one
#      core. For a benchmark that was added later it loads the weights, on a GPU if training has one.
# Again: train_glue if its data, its settings, or the split or score that selects RUN/best has changed; only evaluate_glue if
#      metrics or benchmarks have.


use rule train as train_glue with:
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
        best=f"{RUN}/best/adapter_model.safetensors",
        scores=directory(f"{RUN}/scores"),
    wildcard_constraints:
        task="glue",
    params:
        **made_from(
            "train_glue",
            "train",
            dataset=lambda wc: TASKS[wc.task].trained_on(wc.dataset, run_name(wc)),
            head=task_head,
        ),
        **unrecorded(evaluation=lambda wc: TASKS[wc.task].evaluated_in_training(wc.dataset, run_name(wc))),


use rule evaluate as evaluate_glue with:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        best="<run>/best/adapter_model.safetensors",
        scores="<run>/scores",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    wildcard_constraints:
        task="glue",
    params:
        **made_from(
            "evaluate_glue",
            "evaluate",
            before=dict(downloads=downloaded(task_model, "<resources>/datasets/{task}/{dataset}.manifest.json")),
            dataset=lambda wc: TASKS[wc.task].evaluated_on(wc.dataset, wc.benchmark),
            method=method_slice,
        ),
        **unrecorded(eval_batch_size=hyperparameter("eval_batch_size")),


if TASKS["glue"].all_scored_in_training():  # no job loads weights

    localrules:
        evaluate_glue,
