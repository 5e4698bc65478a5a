# Stage 4, generate: a run's answers to a benchmark, in shards of one GPU each, merged after a completeness check.
# In:  RUN/train.json, RUN/last (subjects: RUN/steps), manifests of model and benchmark (control: of its hints).
# Out: EVAL/outputs.jsonl.gz, one line an item; subjects and control: EVAL/images.tar. The same bytes for any number of shards. The
#      shards themselves are temporary.


localrules:
    gather_outputs,
    gather_images,


rule generate_math:
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
        "<eval>/shard{shard}-of-{n_shards}.benchmark.tsv"
    wildcard_constraints:
        task="math",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads", of="generation")
    resources:
        nodes=1,
        gpu=task_resource("gpu", of="generation"),
        mem_mb=task_resource("mem_mb", of="generation"),
        runtime=task_resource("runtime", of="generation"),
    params:
        prompt=lambda wc: "".join(config["tasks"][wc.task]["prompt"].values()),
        split=lambda wc: benchmark_source(wc)[1],
        generation=lambda wc: grid.generation(config, wc.task, wc.benchmark),
        precision=hyperparameter("precision"),
        quantization=hyperparameter("quantization"),
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device", of="generation"),
        scratch=f"{SCRATCH}/{{benchmark}}/shard{{shard}}-of-{{n_shards}}",
    script:
        "../workflow/scripts/generate_math.py"


rule gather_outputs:
    input:
        shards=lambda wc: collect(
            "<eval>/shard{shard}-of-{n_shards}.jsonl.gz",
            shard=range(config["tasks"][wc.task]["generation"]["shards"]),
            n_shards=config["tasks"][wc.task]["generation"]["shards"],
            allow_missing=True,
        ),
        dataset=benchmark_manifest,
    output:
        outputs=f"{EVAL}/outputs.jsonl.gz",
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/gather.log",
    wildcard_constraints:
        task="math",
    conda:
        "../envs/hra.yaml"
    params:
        split=lambda wc: benchmark_source(wc)[1],
    script:
        "../workflow/scripts/gather_outputs.py"


rule generate_subject:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        steps="<run>/steps",
        model=task_model,
    output:
        shard=temp(f"{EVAL}/shard{{shard}}-of-{{n_shards}}.tar"),
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/shard{shard}-of-{n_shards}.log",
    benchmark:
        "<eval>/shard{shard}-of-{n_shards}.benchmark.tsv"
    wildcard_constraints:
        task="subject",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads", of="generation")
    resources:
        nodes=1,
        gpu=task_resource("gpu", of="generation"),
        mem_mb=task_resource("mem_mb", of="generation"),
        runtime=task_resource("runtime", of="generation"),
    params:
        steps=lambda wc: subjects.sampled(config, wc.dataset, run_name(wc)),
        prompts=lambda wc: subjects.prompts(config, wc.dataset),
        sampling=lambda wc: subjects.sampling(config),
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device", of="generation"),
        finished=f"{SCRATCH}/{{benchmark}}/finished",
        scratch=f"{SCRATCH}/{{benchmark}}/shard{{shard}}-of-{{n_shards}}",
    script:
        "../workflow/scripts/generate_subject.py"


rule generate_control:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/hints/{dataset}.manifest.json",
    output:
        shard=temp(f"{EVAL}/shard{{shard}}-of-{{n_shards}}.tar"),
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/shard{shard}-of-{n_shards}.log",
    benchmark:
        "<eval>/shard{shard}-of-{n_shards}.benchmark.tsv"
    wildcard_constraints:
        task="control",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads", of="generation")
    resources:
        nodes=1,
        gpu=task_resource("gpu", of="generation"),
        mem_mb=task_resource("mem_mb", of="generation"),
        runtime=task_resource("runtime", of="generation"),
    params:
        sampling=lambda wc: controls.sampling(config),
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device", of="generation"),
        finished=f"{SCRATCH}/{{benchmark}}/finished",
        scratch=f"{SCRATCH}/{{benchmark}}/shard{{shard}}-of-{{n_shards}}",
    script:
        "../workflow/scripts/generate_control.py"


rule gather_images:
    input:
        dataset=lambda wc: "<resources>/hints/{dataset}.manifest.json" if wc.task == "control" else [],
        shards=lambda wc: collect(
            "<eval>/shard{shard}-of-{n_shards}.tar",
            shard=range(config["tasks"][wc.task]["generation"]["shards"]),
            n_shards=config["tasks"][wc.task]["generation"]["shards"],
            allow_missing=True,
        ),
    output:
        images=f"{EVAL}/images.tar",
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/gather.log",
    wildcard_constraints:
        task="subject|control",
    conda:
        "../envs/hra.yaml"
    params:
        steps=lambda wc: subjects.sampled(config, wc.dataset, run_name(wc)) if wc.task == "subject" else [],
        prompts=lambda wc: subjects.prompts(config, wc.dataset) if wc.task == "subject" else [],
        images=lambda wc: subjects.sampling(config)["images"] if wc.task == "subject" else 1,
    script:
        "../workflow/scripts/gather_images.py"
