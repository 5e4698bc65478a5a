# Export: a run's adapter as a folder for the Hugging Face Hub.
# In:  the run's record, weights and metrics, and the manifests of its model and dataset.
# Out: RUN/hub/{last,best}/: the adapter as trained, lora/ (of HRA: an equivalent LoRA), train.json, and README.md, the model card.
# Steps: export_adapter, by `make export`.


localrules:
    export_adapter,


rule export_adapter:
    output:
        card=f"{RUN}/hub/{{weights}}/README.md",
    log:
        "<logs>/export/{task}/{dataset}/{method}/{variant}/seed{seed}.{weights}.log",
    wildcard_constraints:
        weights="last|best",
    conda:
        "../envs/hra.yaml"
    resources:
        mem_mb=16000,
        runtime=60,
    params:
        # Not inputs: an export must not train a run again, whatever has changed in the config.
        record=f"{RUN}/train.json",
        adapter=lambda wc: TASKS[wc.task].usage.exported(
            run_name(wc), f"{RUN}/{wc.weights}/adapter_model.safetensors".format(**wc)
        ),
        model=lambda wc: f"{config['pathvars']['resources']}/models/{config['tasks'][wc.task]['model']}.manifest.json",
        dataset=f"{config['pathvars']['resources']}/datasets/{{task}}/{{dataset}}.manifest.json",
        metrics=lambda wc: [
            f"{EVAL}/metrics.json".format(benchmark=one, **wc) for one in dataset_entry(wc)["benchmarks"]
        ],
        to_lora=lambda wc: methods.of(config, wc.method).adapter.to_lora,
        label=lambda wc: grid.rows_of(config, [run_name(wc)])[0]["label"],
        labels=lambda wc: dataset_entry(wc).get("labels"),
        pipeline_tag=lambda wc: TASKS[wc.task].usage.pipeline_tag,
        loading=lambda wc: TASKS[wc.task].usage.loading(wc.dataset),
    script:
        "../workflow/scripts/export_adapter.py"
