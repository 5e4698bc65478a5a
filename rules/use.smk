# Use a trained run: export its adapter for the Hugging Face Hub, and predict for new inputs.
# In:  the run's record, weights and metrics, the manifests of its model and dataset; for predictions, a user's files. None of
#      them is an input of a rule, since using a run must not train it again, whatever has changed in the config.
# Out: RUN/hub/{weights}/: the adapter as trained, lora/ (an equivalent LoRA, for HRA), train.json, and README.md, the model card.
#      RUN/predictions/{weights}/{inputs}/predictions.csv, with the generated images next to it.
# Steps: export_adapter, by `hra-workflow export`; predict_inputs, by `hra-workflow predict`. REQUEST is the request of the command.

from hra_workflow.tasks import requested_run, user_data


localrules:
    export_adapter,


REQUEST = deployment.requested(config, TASKS, CHOSEN)


rule export_adapter:
    output:
        card=f"{RUN}/hub/{{weights}}/README.md",
    log:
        "<logs>/export/{task}/{dataset}/{method}/{variant}/seed{seed}.{weights}.log",
    wildcard_constraints:
        weights=requested_run.WEIGHTS,
    conda:
        "../envs/hra.yaml"
    resources:
        mem_mb=16000,
        runtime=60,
    params:
        record=f"{RUN}/train.json",
        adapter=lambda wc: requested_run.exported(
            TASKS[wc.task], run_name(wc), requested_run.weights_file(RUN.format(**wc), wc.weights)
        ),
        model=lambda wc: TASKS[wc.task].inputs(wc.dataset)["model"],
        dataset=f"{config['pathvars']['resources']}/datasets/{{task}}/{{dataset}}.manifest.json",
        metrics=lambda wc: {
            f"{EVAL}/metrics.json".format(benchmark=one, **wc): expected_metrics(wc.task, wc, one)
            for one in dataset_entry(wc)["benchmarks"]
        },
        benchmarks=lambda wc: user_data.benchmarks_of(TASKS[wc.task], wc.dataset),
        expected=lambda wc: expected_run(wc.task, wc),
        to_lora=lambda wc: methods.get(config, wc.method).adapter.to_lora,
        label=lambda wc: grid.rows_of(config, [run_name(wc)])[0]["label"],
        settings=lambda wc: TASKS[wc.task].prediction(wc.dataset, run_name(wc)),
    script:
        "../workflow/scripts/export_adapter.py"


rule predict_inputs:
    output:
        predictions=f"{RUN}/predictions/{{weights}}/{{inputs}}/predictions.csv",
    log:
        "<logs>/predict/{task}/{dataset}/{method}/{variant}/seed{seed}/{inputs}.{weights}.log",
    wildcard_constraints:
        weights=requested_run.WEIGHTS,
        inputs="[^/]+",
    conda:
        "../envs/hra.yaml"
    threads: lambda wc: work.prediction_resources(TASKS[wc.task])["threads"]
    resources:
        **on_gpus(lambda wc: work.prediction_resources(TASKS[wc.task])["gpu"]),
        nodes=1,
        mem_mb=lambda wc, attempt: grid.resource(work.prediction_resources(TASKS[wc.task]), "mem_mb", None, attempt),
        runtime=lambda wc: work.prediction_resources(TASKS[wc.task])["runtime"],
    params:
        record=f"{RUN}/train.json",
        weights=lambda wc: requested_run.weights_file(RUN.format(**wc), wc.weights),
        model=lambda wc: TASKS[wc.task].inputs(wc.dataset)["model"],
        settings=lambda wc: TASKS[wc.task].prediction(wc.dataset, run_name(wc)),
        given=lambda wc: REQUEST.given if REQUEST else {},
        seed=lambda wc: REQUEST.seed if REQUEST else None,
        device=lambda wc: work.prediction_resources(TASKS[wc.task])["device"],
        scratch=f"{SCRATCH}/predictions",
    script:
        "../workflow/scripts/predict_{wildcards.task}.py"


if REQUEST:

    localrules:
        export,
        predict,

    rule export:
        input:
            REQUEST.card,
        params:
            lines=[*filter(None, [REQUEST.note]), f"The model card: {REQUEST.card}"],
        shell:
            "printf '%s\\n' {params.lines:q}"

    rule predict:
        input:
            REQUEST.predictions,
        params:
            lines=[*filter(None, [REQUEST.note]), f"All predictions: {REQUEST.predictions}"],
        shell:
            "head -n 4 {input:q}; printf '%s\\n' {params.lines:q}"
