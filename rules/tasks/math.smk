# Mathematical reasoning: a causal language model generates answers, which are graded. Retention: how much of the base model's
# other abilities is left, measured with lm-evaluation-harness.
# In:  manifests of the model, the dataset, the initial adapter and the benchmarks.
# Out: RUN/train.json, RUN/last, RUN/answers (temporary, all benchmarks together), EVAL/outputs.jsonl.gz, EVAL/metrics.json,
#      RUN/retention.json, RUN/retention_programs.jsonl.gz;
#      results/table_retention.csv (Table 3) and table_compute.csv (Table 6), each also as .md.
# Steps: train, generate, gather, evaluate; download_harness, evaluate_harness, table_retention; table_compute.
# Again: generate_math, for all benchmarks together, if the prompt, a benchmark or the settings of generation have changed;
#      only evaluate_math if the grading has.


localrules:
    gather_math,
    download_harness,
    table_retention,
    table_compute,


ANSWERS = f"{RUN}/answers/shard{{shard}}-of-{{n_shards}}"  # a run's answers to all benchmarks
RETENTION = f"{RUN}/retention.json"


use rule train as train_math with:
    wildcard_constraints:
        task="math",
    params:
        **made_from(
            "train_math",
            "train",
            prompt=lambda wc: TASKS[wc.task].prompt(),
            head=task_head,
        ),
        **unrecorded(learner=lambda wc: TASKS[wc.task].learner),


use rule generate as generate_math with:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        datasets=question_manifests,
    output:
        shard=temp(f"{ANSWERS}.jsonl.gz"),
    log:
        "<logs>/generate/{task}/{dataset}/{method}/{variant}/seed{seed}/answers/shard{shard}-of-{n_shards}.log",
    benchmark:
        f"{ANSWERS}.benchmark.tsv"
    wildcard_constraints:
        task="math",
    params:
        **made_from(
            "generate_math",
            "generate",
            before=dict(downloads=downloaded(task_model, question_manifests)),
            prompt=lambda wc: TASKS[wc.task].prompt(evaluation=True),
            benchmarks=lambda wc: TASKS[wc.task].questions(wc.dataset),
            generation=lambda wc: TASKS[wc.task].answer_settings(run_name(wc)),
            precision=lambda wc: TASKS[wc.task].generation_precision(wc.dataset, run_name(wc)),
            quantization=hyperparameter("quantization"),
        ),
        **unrecorded(scratch=f"{SCRATCH}/answers/shard{{shard}}-of-{{n_shards}}"),


use rule gather_outputs as gather_math with:
    input:
        record="<run>/train.json",
        shards=lambda wc: [f"<run>/answers/{shard}.jsonl.gz" for shard in shards_of(wc)],
        dataset=benchmark_manifest,
    wildcard_constraints:
        task="math",
    params:
        **made_from(
            "gather_math",
            "gather_outputs",
            before=dict(shards=of("generate_math", run_of)),
            benchmark="{benchmark}",
        ),


use rule evaluate as evaluate_math with:
    input:
        record="<run>/train.json",
        outputs="<eval>/outputs.jsonl.gz",
        dataset=benchmark_manifest,
    wildcard_constraints:
        task="math",
    params:
        **made_from(
            "evaluate_math",
            "evaluate",
            before=dict(outputs=of("generate_math"), downloads=downloaded(benchmark_manifest)),
            split=lambda wc: benchmark_source(wc)[1],
            answer=lambda wc: config["datasets"][wc.task][benchmark_source(wc)[0]]["answer"],
            metrics=lambda wc: dataset_entry(wc)["metrics"],
            graders=lambda wc: TASKS[wc.task].graders(wc.dataset),
            score=lambda wc: dataset_entry(wc)["score"],
        ),


rule download_harness:
    output:
        manifest="<resources>/harness.manifest.json",
    log:
        "<logs>/download/harness.log",
    retries: 0  # the script retries
    conda:
        "../../envs/hra.yaml"
    params:
        **made_from(
            "download_harness",
            benchmarks=harness_tasks,
            include_path=lambda wc: config["tasks"]["math"]["retention"]["include_path"],
        ),
        **unrecorded(network=True),
    script:
        "../../workflow/scripts/download_harness.py"


rule evaluate_harness:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        harness="<resources>/harness.manifest.json",
    output:
        metrics=RETENTION,
        programs=f"{RUN}/retention_programs.jsonl.gz",
    log:
        "<logs>/evaluate/{task}/{dataset}/{method}/{variant}/seed{seed}/retention.log",
    wildcard_constraints:
        task="math",
    conda:
        "../../envs/hra.yaml"
    threads: task_resource("threads", of="retention")
    resources:
        **resources_of("retention", stage="evaluate"),
    params:
        **made_from(
            "evaluate_harness",
            before=dict(
                record=of(train_rule, run_of),
                downloads=downloaded(task_model),
                harness=lambda wc: ("download_harness", {}),
            ),
            benchmarks=lambda wc: extra_tables.harness_benchmarks(TASKS["math"]),
            limit=lambda wc: config["tasks"][wc.task]["retention"]["limit"],
            include_path=lambda wc: config["tasks"][wc.task]["retention"]["include_path"],
            precision=lambda wc: TASKS[wc.task].generation_precision(wc.dataset, run_name(wc)),
            quantization=hyperparameter("quantization"),
            method=method_slice,
            task_version=task_version,
        ),
        **unrecorded(
            batch_size=lambda wc: config["tasks"][wc.task]["retention"]["batch_size"],
            scratch=f"{SCRATCH}/retention",
            device=task_resource("device", of="retention"),
        ),
    script:
        "../../workflow/scripts/evaluate_harness.py"


rule table_retention:
    input:
        metrics=retention_files,
        published=published("retention", task="math"),
    output:
        csv="<results>/table_retention.csv",
        markdown="<results>/table_retention.md",
    log:
        "<logs>/tables/table_retention.log",
    conda:
        "../../envs/hra.yaml"
    params:
        **made_from(
            "table_retention",
            ordered=True,
            benchmarks=lambda wc: list(config["tasks"]["math"]["retention"]["benchmarks"]),
            left_out=lambda wc: extra_tables.unsafe_benchmarks(TASKS["math"]),
            base=lambda wc: config["tasks"]["math"]["retention"]["base"],
            rows=lambda wc: grid.rows_of(config, extra_tables.retention_rows(TASKS["math"])),
            seeds=lambda wc: extra_tables.retention_seeds(TASKS["math"]),
            expected=lambda wc: {
                RETENTION.format(task="math", **run): expected_run("math", run)
                for run in extra_tables.retention_runs(TASKS["math"])
            },
            evaluations=lambda wc: {
                RETENTION.format(task="math", **run): IDENTITIES.expected("evaluate_harness", {"task": "math"} | run)
                for run in extra_tables.retention_runs(TASKS["math"])
            },
        ),
        lost=lost_inputs("table_retention.csv"),
    script:
        "../../workflow/scripts/table_retention.py"


rule table_compute:
    input:
        runs="<results>/runs_math.csv",
        published=published("compute", task="math"),
    output:
        csv="<results>/table_compute.csv",
        markdown="<results>/table_compute.md",
    log:
        "<logs>/tables/table_compute.log",
    conda:
        "../../envs/hra.yaml"
    params:
        **made_from(
            "table_compute",
            ordered=True,
            rows=lambda wc: grid.rows_of(config, extra_tables.compute_rows(TASKS["math"])),
        ),
    script:
        "../../workflow/scripts/table_compute.py"
