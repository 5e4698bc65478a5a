# Stage 6, tables: all runs of a task, the paper's table with ours beside it, figures.
# In:  the records and metrics of every run of the grid (`incomplete: true`: of those that are there), published numbers.
# Out: results/runs_{task}.csv, results/table_{task}.csv and .md, results/figures/{task}_*.svg and .png.


localrules:
    runs,
    table,
    figures,


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
    log:
        "<logs>/tables/runs_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        task="{task}",
        expected=lambda wc: grid.expected_runs(config, wc.task, SCRATCH, START_SCRATCH),
        incomplete=config["incomplete"],
        vanished=vanished,
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
    log:
        "<logs>/tables/table_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        task="{task}",
        columns=lambda wc: config["tasks"][wc.task]["columns"],
        averages=lambda wc: grid.averages(config, wc.task),
        rows=lambda wc: grid.table_rows(config, wc.task),
        seeds_expected=lambda wc: grid.seeds_expected(config, wc.task),
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
            f"{figure}_{kind}": (
                report(
                    f"<results>/figures/{{task}}_{figure}.{kind}",
                    caption=f"../workflow/report/{figure}.rst",
                    category="{task}",
                    labels={"what": figure},
                )
                if kind == "svg"
                else f"<results>/figures/{{task}}_{figure}.{kind}"
            )
            for figure in ("parameters", "lambda", "curves")
            for kind in ("svg", "png")
        },
    log:
        "<logs>/tables/figures_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        task="{task}",
        columns=lambda wc: config["tasks"][wc.task]["columns"],
        averages=lambda wc: grid.averages(config, wc.task),
        average=lambda wc: config["tasks"][wc.task]["figures"]["average"],
        lambda_column=lambda wc: config["tasks"][wc.task]["figures"].get("lambda_column"),
        lambdas=lambda wc: grid.lambdas(config, wc.task),
        labels=lambda wc: {row["run"]: row["label"] for row in grid.table_rows(config, wc.task)},
    script:
        "../workflow/scripts/figures.py"
