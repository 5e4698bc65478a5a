# GLUE: a classifier is fine-tuned per dataset; its last checkpoint and the best one on dev are evaluated.
# In:  manifests of the model, the dataset and the initial adapter.
# Out: RUN/train.json, RUN/last, RUN/best (the weights with the best dev score), EVAL/metrics.json per benchmark.
# Steps: train, which also evaluates; evaluate_glue_in_training takes the results over. Where only results are missing,
#      evaluate_glue remakes them: both rules have the same inputs and params, so neither's results are outdated by the other.


localrules:
    evaluate_glue_in_training,


ruleorder: evaluate_glue_in_training > evaluate_glue


use rule train as train_glue with:
    output:
        record=f"{RUN}/train.json",
        last=f"{RUN}/last/adapter_model.safetensors",
        best=f"{RUN}/best/adapter_model.safetensors",
    wildcard_constraints:
        task="glue",
    params:
        **unrecorded(
            dataset=dataset_slice,
            hyperparameters=lambda wc: TASKS[wc.task].training_settings(wc.dataset, run_name(wc)),
        ),
        **recorded(
            rerun_dataset=lambda wc: TASKS[wc.task].trained_on(dataset_slice(wc)),
            rerun_hyperparameters=lambda wc: TASKS[wc.task].but_evaluation(
                TASKS[wc.task].training_settings(wc.dataset, run_name(wc))
            ),
            head=lambda wc: config["models"][config["tasks"][wc.task]["model"]]["head"],
        ),


use rule evaluate as evaluate_glue with:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        best="<run>/best/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    wildcard_constraints:
        task="glue",
    threads: task_resource("threads")
    resources:
        **on_gpus(lambda wc: min(1, task_resource("gpu")(wc))),
        nodes=1,
        mem_mb=task_resource("mem_mb"),
        runtime=60,
    params:
        **unrecorded(
            dataset=dataset_slice,
            hyperparameters=lambda wc: TASKS[wc.task].training_settings(wc.dataset, run_name(wc)),
        ),
        **recorded(
            rerun_dataset=lambda wc: TASKS[wc.task].evaluated_on(dataset_slice(wc), wc.benchmark),
            method=method_slice,
            device=task_resource("device"),
        ),


use rule evaluate_glue as evaluate_glue_in_training with:
    input:
        # Without this input, Snakemake chooses evaluate_glue.
        record=lambda wc: (
            "<run>/train.json"
            if config["preflight"] != "jobs"
            and early_evaluations.expected(
                EVAL.format(**wc),
                outdated=lambda: recorded_params.differs(
                    workflow,
                    f"{EVAL}/metrics.json".format(**wc),
                    TASKS[wc.task].evaluated_on(dataset_slice(wc), wc.benchmark),
                ),
            )
            else "not evaluated by the training job"
        ),
        last="<run>/last/adapter_model.safetensors",
        best="<run>/best/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    threads: 1
    resources:
        gpu=0,
        mem_mb=600,
        runtime=10,
