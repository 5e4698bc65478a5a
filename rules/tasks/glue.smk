# GLUE: a classifier is fine-tuned per dataset; its last checkpoint and the best one on dev are evaluated.
# In:  manifests of the model, the dataset and the initial adapter.
# Out: RUN/train.json, RUN/last, RUN/best (the weights with the best dev score), EVAL/metrics.json per benchmark.
# Steps: train, evaluate. The training job evaluates its weights while it has a GPU; evaluate_glue copies the results on one core.
#      Where they are missing, it evaluates, on a GPU if training has one.
# Again: train_glue if its data, its settings, or the split or score that selects RUN/best has changed; only evaluate_glue if
#      metrics or benchmarks have.


use rule train as train_glue with:
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
        best=f"{RUN}/best/adapter_model.safetensors",
    wildcard_constraints:
        task="glue",
    params:
        **recorded(
            dataset=lambda wc: TASKS[wc.task].training.trained_on(wc.dataset, run_name(wc)),
            head=task_head,
        ),
        **unrecorded(evaluation=lambda wc: TASKS[wc.task].training.evaluation(wc.dataset, run_name(wc))),


use rule evaluate as evaluate_glue with:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        best="<run>/best/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    wildcard_constraints:
        task="glue",
    params:
        **recorded(
            dataset=lambda wc: TASKS[wc.task].evaluation.evaluated_on(wc.dataset, wc.benchmark),
            method=method_slice,
        ),
        **unrecorded(eval_batch_size=hyperparameter("eval_batch_size")),


if TASKS["glue"].evaluation.all_in_training():  # copying files needs no cluster job

    localrules:
        evaluate_glue,
