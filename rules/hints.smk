# Stage 1b, hints: control images, computed from images and their annotations.
# In:  the manifest of a dataset's archives.
# Out: resources/hints/{dataset}.manifest.json, and beside it {split}.arrow: pictures, prompts, hints and annotations, each
#      brought to a square of the task's resolution. Archives are read in place; whatever a run needs is in these files.


rule hints:
    input:
        dataset="<resources>/datasets/control/{dataset}.manifest.json",
    output:
        manifest="<resources>/hints/{dataset}.manifest.json",
    log:
        "<logs>/hints/{dataset}.log",
    conda:
        "../envs/hra.yaml"
    threads: lambda wc: config["tasks"]["control"]["hints"]["resources"]["threads"]
    resources:
        nodes=1,
        mem_mb=lambda wc, attempt: grid.resource(
            config["tasks"]["control"]["hints"]["resources"], "mem_mb", None, attempt
        ),
        runtime=lambda wc: config["tasks"]["control"]["hints"]["resources"]["runtime"],
    params:
        dataset=lambda wc: controls.drawing(config, wc.dataset),
        scratch=f"{config['pathvars']['scratch']}/hints/{{dataset}}",
    script:
        "../workflow/scripts/draw_hints.py"
