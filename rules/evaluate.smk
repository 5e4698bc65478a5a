# Stage 5, evaluate: GLUE: the weights of a run, last and best on dev, on one benchmark; math: its answers, graded.
# In:  RUN/train.json, the weights or EVAL/outputs.jsonl.gz, manifests of model and dataset.
# Out: EVAL/metrics.json (value, standard error, n) and EVAL/predictions.jsonl.gz, item by item.
#      RUN/retention.json: lm-eval's benchmarks, for Table 3. Subjects: the images' likeness, faithfulness and variety. Control: how
#      well they follow their hints, by detectors; of the kind `reference` the photographs themselves.


rule evaluate_glue:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        best="<run>/best/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    output:
        metrics=f"{EVAL}/metrics.json",
        predictions=f"{EVAL}/predictions.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}.log",
    wildcard_constraints:
        task="glue",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads")
    resources:
        nodes=1,
        gpu=lambda wc: min(1, task_resource("gpu")(wc)),
        mem_mb=task_resource("mem_mb"),
        runtime=60,
    params:
        dataset=dataset_slice,
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device"),
        scratch=f"{SCRATCH}/{{benchmark}}",
    script:
        "../workflow/scripts/evaluate_glue.py"


rule evaluate_math:
    input:
        record="<run>/train.json",
        outputs="<eval>/outputs.jsonl.gz",
        dataset=benchmark_manifest,
    output:
        metrics=f"{EVAL}/metrics.json",
        predictions=f"{EVAL}/predictions.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}.log",
    wildcard_constraints:
        task="math",
    conda:
        "../envs/hra.yaml"
    threads: lambda wc: min(8, task_resource("threads")(wc))
    resources:
        nodes=1,
        mem_mb=lambda wc, attempt: min(8000 * attempt, task_resource("mem_mb")(wc, attempt)),
        runtime=60,
    params:
        split=lambda wc: benchmark_source(wc)[1],
        answer=lambda wc: config["datasets"][wc.task][benchmark_source(wc)[0]]["answer"],
        metrics=lambda wc: dataset_entry(wc)["metrics"],
        score=lambda wc: dataset_entry(wc)["score"],
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        scratch=f"{SCRATCH}/{{benchmark}}",
    script:
        "../workflow/scripts/evaluate_math.py"


rule evaluate_harness:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        harness="<resources>/harness.manifest.json",
    output:
        metrics=f"{RUN}/retention.json",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/retention.log",
    wildcard_constraints:
        task="math",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads", of="retention")
    resources:
        nodes=1,
        gpu=task_resource("gpu", of="retention"),
        mem_mb=task_resource("mem_mb", of="retention"),
        runtime=task_resource("runtime", of="retention"),
    params:
        benchmarks=lambda wc: grid.retention_benchmarks(config),
        batch_size=lambda wc: config["tasks"][wc.task]["retention"]["batch_size"],
        limit=lambda wc: config["tasks"][wc.task]["retention"]["limit"],
        include_path=lambda wc: config["tasks"][wc.task]["retention"]["include_path"],
        precision=hyperparameter("precision"),
        quantization=hyperparameter("quantization"),
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device", of="retention"),
        scratch=f"{SCRATCH}/retention",
    script:
        "../workflow/scripts/evaluate_harness.py"


rule evaluate_subject:
    input:
        record="<run>/train.json",
        images=lambda wc: [] if method_slice(wc)["kind"] == "reference" else "<eval>/images.tar",
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
        models=lambda wc: collect("<resources>/models/{name}.manifest.json", name=subjects.evaluator_models(config)),
    output:
        metrics=f"{EVAL}/metrics.json",
        predictions=f"{EVAL}/predictions.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}.log",
    wildcard_constraints:
        task="subject",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads", of="evaluation")
    resources:
        nodes=1,
        gpu=task_resource("gpu", of="evaluation"),
        mem_mb=task_resource("mem_mb", of="evaluation"),
        runtime=task_resource("runtime", of="evaluation"),
    params:
        evaluation=lambda wc: subjects.evaluation(config, wc.dataset),
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device", of="evaluation"),
        scratch=f"{SCRATCH}/{{benchmark}}",
    script:
        "../workflow/scripts/evaluate_subject.py"


rule evaluate_control:
    input:
        record="<run>/train.json",
        images=lambda wc: [] if method_slice(wc)["kind"] == "reference" else "<eval>/images.tar",
        dataset="<resources>/hints/{dataset}.manifest.json",
        models=lambda wc: collect(
            "<resources>/models/{name}.manifest.json", name=controls.evaluator_models(config, wc.dataset)
        ),
    output:
        metrics=f"{EVAL}/metrics.json",
        predictions=f"{EVAL}/predictions.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}.log",
    wildcard_constraints:
        task="control",
    conda:
        "../envs/hra.yaml"
    threads: task_resource("threads", of="evaluation")
    resources:
        nodes=1,
        gpu=task_resource("gpu", of="evaluation"),
        mem_mb=task_resource("mem_mb", of="evaluation"),
        runtime=task_resource("runtime", of="evaluation"),
    params:
        evaluators=lambda wc: controls.evaluators(config, wc.dataset),
        method=method_slice,
        task_version=lambda wc: config["tasks"][wc.task]["version"],
        device=task_resource("device", of="evaluation"),
        scratch=f"{SCRATCH}/{{benchmark}}",
    script:
        "../workflow/scripts/evaluate_control.py"
