# Stage 4, generate: a run's outputs for a benchmark, or for all of them, in shards of one GPU each, merged after a completeness check.
# In:  RUN/train.json, RUN/last, manifests of the model and the benchmark.
# Out: EVAL/outputs.jsonl.gz, one line per item, or EVAL/images.tar, byte-identical for any number of shards. The shards
#      are temporary. Each records what it was made from, which is compared where it is read (core/made_from.py).
# Steps: generate, then gather_outputs or gather_images: abstract rules; rules/tasks/{task}.smk inherits from them with
#      `use rule generate as generate_{task}`. Paths of conda and script are relative to that file.
# Again: after training, or if anything that the outputs depend on has changed. Their number of shards changes nothing.


rule generate:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        dataset=benchmark_manifest,
    output:
        shard=temp(f"{EVAL}/shard{{shard}}-of-{{n_shards}}.jsonl.gz"),
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/shard{shard}-of-{n_shards}.log",
    benchmark:
        f"{EVAL}/shard{{shard}}-of-{{n_shards}}.benchmark.tsv"
    wildcard_constraints:
        task="(?!)",
    conda:
        "../../envs/hra.yaml"
    threads: task_resource("threads", of="generation")
    resources:
        **resources_of("generation", stage="generate"),
    params:
        **made_from(
            "generate",
            before=dict(record=of(train_rule, run_of), downloads=downloaded(task_model)),
            method=method_slice,
            task_version=task_version,
        ),
        **unrecorded(
            scratch=f"{SCRATCH}/{{benchmark}}/shard{{shard}}-of-{{n_shards}}",
            device=task_resource("device", of="generation"),
        ),
    script:
        "../../workflow/scripts/generate_{wildcards.task}.py"


rule gather_outputs:
    input:
        record="<run>/train.json",
        dataset=benchmark_manifest,
    output:
        outputs=f"{EVAL}/outputs.jsonl.gz",
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/gather.log",
    wildcard_constraints:
        task="(?!)",
    conda:
        "../../envs/hra.yaml"
    params:
        **made_from(
            "gather_outputs",
            before=dict(record=of(train_rule, run_of)),
            split=lambda wc: benchmark_source(wc)[1],
        ),
    script:
        "../../workflow/scripts/gather_outputs.py"


rule gather_images:
    input:
        record="<run>/train.json",
        shards=lambda wc: collect("<eval>/{shard}.tar", shard=shards_of(wc), allow_missing=True),
    output:
        images=f"{EVAL}/images.tar",
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/gather.log",
    wildcard_constraints:
        task="(?!)",
    conda:
        "../../envs/hra.yaml"
    params:
        **made_from("gather_images", steps=[], prompts=[], images=1),
    script:
        "../../workflow/scripts/gather_images.py"
