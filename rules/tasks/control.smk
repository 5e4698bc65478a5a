# Controllable generation: a UNet and its hint encoder are fine-tuned per dataset of control images.
# In:  manifests of the models, the dataset's archives and the initial adapter.
# Out: resources/hints/{dataset}.manifest.json, and next to it {split}.arrow: images, prompts, control images and annotations,
#      cropped and resized to the task's resolution. Archives are read in place; these files contain everything a run needs.
#      RUN/train.json, RUN/last (the adapter with its hint encoder), EVAL/images.tar, EVAL/metrics.json;
#      results/sheets/control_{dataset}.png: control image, real image and generated images (target `control_sheets`).
# Steps: hints; train, generate, gather, evaluate; sheet.
# Again: hints, and everything after it, if the hint, the splits or the resolution have changed;
#      generate_control if the sampler has; only evaluate_control if the evaluators have.


localrules:
    sheet_control,
    control_sheets,


if work.in_one_shard(TASKS["control"]):  # copying several shards is a job and must not run on the login node

    localrules:
        gather_control,


rule hints:
    input:
        dataset="<resources>/datasets/control/{dataset}.manifest.json",
    output:
        manifest="<resources>/hints/{dataset}.manifest.json",
    log:
        "<logs>/hints/{dataset}.log",
    conda:
        "../../envs/hra.yaml"
    threads: task_resource("threads", of="hints", task="control")
    resources:
        **resources_of("hints", task="control"),
    params:
        **made_from(
            "hints",
            before=dict(downloads=downloaded("<resources>/datasets/control/{dataset}.manifest.json")),
            dataset=lambda wc: TASKS["control"].hints(wc.dataset),
        ),
        **unrecorded(scratch=f"{config['pathvars']['scratch']}/hints/{{dataset}}"),
    script:
        "../../workflow/scripts/draw_hints.py"


use rule train as train_control with:
    input:
        model=task_model,
        dataset="<resources>/hints/{dataset}.manifest.json",
        augmented=initial_adapter,
    wildcard_constraints:
        task="control",
    params:
        **made_from(
            "train_control",
            "train",
            before=dict(dataset=of("hints", hints_of)),
            resolution=lambda wc: config["tasks"][wc.task]["resolution"],
        ),


use rule generate as generate_control with:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/hints/{dataset}.manifest.json",
    output:
        shard=temp(f"{EVAL}/shard{{shard}}-of-{{n_shards}}.tar"),
    wildcard_constraints:
        task="control",
    params:
        **made_from(
            "generate_control",
            "generate",
            before=dict(dataset=of("hints", hints_of)),
            sampling=lambda wc: TASKS["control"].sampling(),
        ),
        **unrecorded(finished=f"{SCRATCH}/{{benchmark}}/finished"),


use rule gather_images as gather_control with:
    input:
        record="<run>/train.json",
        dataset="<resources>/hints/{dataset}.manifest.json",
        shards=lambda wc: collect("<eval>/{shard}.tar", shard=shards_of(wc), allow_missing=True),
    wildcard_constraints:
        task="control",
        benchmark=rf"{TASKS['control'].benchmark}(@[\d.]+)?",
    params:
        **made_from("gather_control", "gather_images", before=dict(shards=of("generate_control"))),


use rule evaluate as evaluate_control with:
    input:
        record="<run>/train.json",
        images=generated_images,
        dataset="<resources>/hints/{dataset}.manifest.json",
        models=evaluator_models,
    wildcard_constraints:
        task="control",
        benchmark=rf"{TASKS['control'].benchmark}(@[\d.]+)?",
    params:
        **made_from(
            "evaluate_control",
            "evaluate",
            before=dict(
                images=of("generate_control", generates),
                dataset=of("hints", hints_of),
                downloads=downloaded(evaluator_models),
            ),
            evaluators=lambda wc: TASKS["control"].evaluators(wc.dataset),
            method=method_slice,
        ),


use rule sheet as sheet_control with:
    input:
        dataset="<resources>/hints/{dataset}.manifest.json",
        images=lambda wc: sheet_files(wc, "images.tar"),
        predictions=lambda wc: sheet_files(wc, "predictions.jsonl.gz"),
        real=lambda wc: sheet_files(wc, "predictions.jsonl.gz", real=True),
    wildcard_constraints:
        task="control",
    params:
        **made_from(
            "sheet_control",
            "sheet",
            ordered=True,
            runs=lambda wc: TASKS["control"].sheet_runs(wc.dataset),
            real=lambda wc: TASKS["control"].sheet_runs(wc.dataset, real=True),
        ),


rule control_sheets:
    input:
        collect("<results>/sheets/control_{name}.png", name=grid.datasets(config, "control")),
