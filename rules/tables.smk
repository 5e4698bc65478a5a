# Stage 6, tables: all runs of a task, the paper's table with ours beside it, figures.
# In:  the records and metrics of every run of the grid (`incomplete: true`: of those that are there), published numbers.
# Out: results/runs_{task}.csv, results/table_{task}.csv and .md, results/figures/{task}_*.svg and .png; of the math runs
#      also table_retention (Table 3) and table_compute (Table 6); of every subject a contact sheet, of every
#      control dataset a sheet of hint, photograph and images.


localrules:
    runs,
    table,
    figures,
    contact_sheet,
    control_sheet,
    sheets,
    control_sheets,
    table_retention,
    table_compute,


rule runs:
    input:
        records=record_files,
        metrics=metrics_files,
    output:
        runs=report(
            "<results>/runs_{task}.csv",
            caption="../workflow/report/runs.rst",
            category="{task}",
            labels={"what": "all runs"},
        ),
    log:
        "<logs>/tables/runs_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        task="{task}",
        expected=lambda wc: expected_runs.expected_runs(config, wc.task, SCRATCH, START_SCRATCH),
        incomplete=config["incomplete"],
        vanished=lambda wc: expected_runs.vanished(config, f"runs_{wc.task}", record_files(wc) + metrics_files(wc)),
    script:
        "../workflow/scripts/collect_runs.py"


rule table:
    input:
        runs="<results>/runs_{task}.csv",
        published=published("{task}"),
    output:
        csv=report(
            "<results>/table_{task}.csv",
            caption="../workflow/report/table.rst",
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
        columns=lambda wc: grid.columns(config, wc.task),
        scale=lambda wc: grid.scale(wc.task),
        averages=lambda wc: grid.averages(config, wc.task),
        selections=lambda wc: grid.selections(wc.task),
        rows=lambda wc: grid.table_rows(config, wc.task),
        seeds_expected=lambda wc: grid.seeds_expected(config, wc.task),
        never_marked=lambda wc: expected_runs.never_marked(config, wc.task),
    script:
        "../workflow/scripts/table.py"


rule figures:
    input:
        runs="<results>/runs_{task}.csv",
        records=record_files,
        published=published("{task}"),
        published_lambda=lambda wc: [] if wc.task in ("subject", "control") else published("{task}_lambda")(wc),
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
        **{"lambda": lambda wc: config["tasks"][wc.task]["figures"]["lambda"]},
        task="{task}",
        columns=lambda wc: grid.columns(config, wc.task),
        scale=lambda wc: grid.scale(wc.task),
        averages=lambda wc: grid.averages(config, wc.task),
        selections=lambda wc: grid.selections(wc.task),
        parameters=lambda wc: config["tasks"][wc.task]["figures"]["parameters"],
        lambdas=lambda wc: grid.lambdas(config, wc.task),
        labels=lambda wc: {row["run"]: row["label"] for row in grid.table_rows(config, wc.task)},
    script:
        "../workflow/scripts/figures.py"


rule sheets:
    input:
        collect("<results>/sheets/subject_{name}.png", name=grid.datasets(config, "subject")),


rule contact_sheet:
    input:
        dataset="<resources>/datasets/subject/{dataset}.manifest.json",
        images=lambda wc: existing(
            [
                f"{EVAL}/images.tar".format(task="subject", benchmark="prompts", **run)
                for run in subjects.sheet_runs(config, wc.dataset)
            ]
        ),
    output:
        sheet=report(
            "<results>/sheets/subject_{dataset}.png",
            caption="../workflow/report/sheet.rst",
            category="subject",
            labels={"what": "{dataset}"},
        ),
    log:
        "<logs>/tables/sheet_{dataset}.log",
    conda:
        "../envs/hra.yaml"
    params:
        labels=lambda wc, input: {
            path: row["label"]
            for row in grid.table_rows(config, "subject")
            for path in input.images
            if f"/{row['run']}/" in path
        },
        prompts=lambda wc: subjects.prompts(config, wc.dataset, identifier=False),
        rows=lambda wc: config["tasks"]["subject"]["sheets"]["prompts"],
    script:
        "../workflow/scripts/contact_sheet.py"


rule control_sheets:
    input:
        collect("<results>/sheets/control_{name}.png", name=grid.datasets(config, "control")),


rule control_sheet:
    input:
        dataset="<resources>/hints/{dataset}.manifest.json",
        images=lambda wc: existing(
            [
                f"{EVAL}/images.tar".format(task="control", benchmark=controls.BENCHMARK, **run)
                for run in controls.sheet_runs(config, wc.dataset)
            ]
        ),
    output:
        sheet=report(
            "<results>/sheets/control_{dataset}.png",
            caption="../workflow/report/control_sheet.rst",
            category="control",
            labels={"what": "{dataset}"},
        ),
    log:
        "<logs>/tables/control_sheet_{dataset}.log",
    conda:
        "../envs/hra.yaml"
    params:
        labels=lambda wc, input: {
            path: row["label"]
            for row in grid.table_rows(config, "control")
            for path in input.images
            if f"/{row['run']}/" in path
        },
        rows=lambda wc: config["tasks"]["control"]["sheets"]["rows"],
    script:
        "../workflow/scripts/control_sheet.py"


rule table_retention:
    input:
        metrics=retention_files,
        published=published("retention", task="math"),
    output:
        csv=report(
            "<results>/table_retention.csv",
            caption="../workflow/report/retention.rst",
            category="math",
            labels={"what": "retention"},
        ),
        markdown="<results>/table_retention.md",
    log:
        "<logs>/tables/table_retention.log",
    conda:
        "../envs/hra.yaml"
    params:
        benchmarks=lambda wc: list(config["tasks"]["math"]["retention"]["benchmarks"]),
        left_out=lambda wc: [
            name
            for name in config["tasks"]["math"]["retention"]["benchmarks"]
            if name not in grid.retention_benchmarks(config)
        ],
        base=lambda wc: config["tasks"]["math"]["retention"]["base"],
        rows=lambda wc: grid.rows_of(config, config["tasks"]["math"]["retention"]["runs"]),
        seeds=lambda wc: config["tasks"]["math"]["retention"]["seeds"],
        vanished=lambda wc: expected_runs.vanished(config, "table_retention", retention_files(wc)),
    script:
        "../workflow/scripts/table_retention.py"


rule table_compute:
    input:
        runs="<results>/runs_math.csv",
        published=published("compute", task="math"),
    output:
        csv=report(
            "<results>/table_compute.csv",
            caption="../workflow/report/compute.rst",
            category="math",
            labels={"what": "compute"},
        ),
        markdown="<results>/table_compute.md",
    log:
        "<logs>/tables/table_compute.log",
    conda:
        "../envs/hra.yaml"
    params:
        rows=lambda wc: grid.rows_of(config, config["tasks"]["math"]["compute"]["runs"]),
    script:
        "../workflow/scripts/table_compute.py"
