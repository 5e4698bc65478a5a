# Stage 6, tables: all runs of a task, the paper's table with ours beside it, figures.
# In:  the records and metrics of every run of the grid (`incomplete: true`: of those that are there), published numbers.
# Out: results/runs_{task}.csv, results/table_{task}.csv and .md, results/figures/{task}_*.svg and .png.


localrules:
    runs,
    table,
    figures,


def expected_runs(wildcards):
    return [
        run
        | {
            "benchmarks": list(config["datasets"][wildcards.task][run["dataset"]]["benchmarks"]),
            "scratch": SCRATCH.format(task=wildcards.task, **run),
        }
        for run in RUNS[wildcards.task]
    ]


def table_rows(wildcards):
    """The variants of the grid in config order, with their labels."""
    names = dict.fromkeys((run["method"], run["variant"]) for run in RUNS[wildcards.task])
    return [
        {"run": f"{method}/{variant}", "label": config["methods"][method]["variants"][variant].get("label", f"{method} {variant}")}
        for method, variant in names
    ]


def averages(wildcards):
    return {entry["name"]: entry["columns"] for entry in config["tasks"][wildcards.task]["averages"]}


def seeds_expected(wildcards):
    counts = {}
    for run in RUNS[wildcards.task]:
        datasets = counts.setdefault(f"{run['method']}/{run['variant']}", {})
        datasets[run["dataset"]] = datasets.get(run["dataset"], 0) + 1
    return counts


def vanished(wildcards):
    """Inputs deleted since the run table was made.

    Snakemake remakes a missing file only for a job that runs: as a param, a missing input makes the job run.
    """
    if not Path(in_results("<results>/runs_{task}.csv").format(task=wildcards.task)).exists():
        return []
    return [path for path in record_files(wildcards) + metrics_files(wildcards) if not Path(path).exists()]


def published(name):
    """A file of config/published/, as an input if the task has one and its model is the paper's."""
    return lambda wc: f"config/published/{wc.task}{name}.csv" if config["tasks"][wc.task].get("published") else []


rule runs:
    input:
        records=record_files,
        metrics=metrics_files,
    output:
        runs=report(
            "<results>/runs_{task}.csv",
            caption="../workflow/report/runs_glue.rst",
            category="{task}",
            labels={"what": "all runs"},
        ),
    params:
        task="{task}",
        expected=expected_runs,
        incomplete=config["incomplete"],
        vanished=vanished,
    log:
        "<logs>/tables/runs_{task}.log",
    conda:
        "../envs/hra.yaml"
    script:
        "../workflow/scripts/collect_runs.py"


rule table:
    input:
        runs="<results>/runs_{task}.csv",
        published=published(""),
    output:
        csv=report(
            "<results>/table_{task}.csv",
            caption="../workflow/report/table_glue.rst",
            category="{task}",
            labels={"what": "table"},
        ),
        markdown="<results>/table_{task}.md",
    params:
        task="{task}",
        columns=lambda wc: config["tasks"][wc.task]["columns"],
        averages=averages,
        rows=table_rows,
        seeds_expected=seeds_expected,
    log:
        "<logs>/tables/table_{task}.log",
    conda:
        "../envs/hra.yaml"
    script:
        "../workflow/scripts/table.py"


rule figures:
    input:
        runs="<results>/runs_{task}.csv",
        records=record_files,
        published=published(""),
        published_lambda=published("_mrpc_lambda"),
    output:
        **{
            f"{figure}_{kind}": report(
                f"<results>/figures/{{task}}_{figure}.{kind}",
                caption=f"../workflow/report/{figure}.rst",
                category="{task}",
                labels={"what": figure},
            )
            if kind == "svg"
            else f"<results>/figures/{{task}}_{figure}.{kind}"
            for figure in ("parameters", "lambda", "curves")
            for kind in ("svg", "png")
        },
    params:
        task="{task}",
        columns=lambda wc: config["tasks"][wc.task]["columns"],
        averages=averages,
        average=lambda wc: config["tasks"][wc.task]["figures"]["average"],
        lambda_column=lambda wc: config["tasks"][wc.task]["figures"].get("lambda_column"),
        lambdas=lambda wc: {
            row["run"]: value
            for row in table_rows(wc)
            if (value := grid.lambda_of(config, row["run"])) is not None
        },
        labels=lambda wc: {row["run"]: row["label"] for row in table_rows(wc)},
    log:
        "<logs>/tables/figures_{task}.log",
    conda:
        "../envs/hra.yaml"
    script:
        "../workflow/scripts/figures.py"
