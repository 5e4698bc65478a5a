# Stage 6, tables: all runs of a task, the results table with the published values, figures, contact sheets.
# In:  the records and metrics of every run of the grid (with `incomplete: true`, those that exist), published numbers;
#      rule table also reads the predictions of classes; these are not inputs.
# Out: results/runs_{task}.csv, results/compare_{task}.csv, results/table_{task}.csv and .md,
#      results/figures/{task}_*.svg and .png, results/sheets/{task}_{dataset}.png.
# Steps: runs, compare, table, figures, figures_lambda; sheet is an abstract rule; rules/tasks/{task}.smk inherits from it
#      with `use rule sheet as sheet_{task}` and adds images and caption. Its paths are relative to that file.
# Again: if a result, the grid or anything shown has changed.

from hra_workflow.report import colours
from hra_workflow.tasks import tuned_runs, user_data


localrules:
    runs,
    table,
    figures,
    figures_lambda,


# How every table and figure selects and scales the rows of the run table.
SCORES = dict(
    task="{task}",
    columns=lambda wc: grid.columns(config, wc.task),
    averages=lambda wc: grid.averages(config, wc.task),
    scale=lambda wc: TASKS[wc.task].scale,
    selections=lambda wc: list(TASKS[wc.task].selections),
)

# These decide whether a difference is called better or significant; the order of hyper-parameters in the config does not matter.
SEARCHES = {"searches": lambda wc: identities.canonical(tuned_runs.searches(TASKS[wc.task]))}


rule runs:
    input:
        records=lambda wc: existing(f"{RUN}/train.json", wc.task, RUNS[wc.task]),
        metrics=metrics_files,
        tuning=trial_table,
    output:
        runs="<results>/runs_{task}.csv",
    log:
        "<logs>/tables/runs_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **made_from(
            "runs",
            task="{task}",
            incomplete=config["incomplete"],
            grid=lambda wc: expected_runs.digests(expected_results(wc)),
        ),
        **unrecorded(
            expected=expected_results,
            errors=lambda wc: expected_runs.error_files(TASKS[wc.task]),
        ),
        lost=lost_inputs("runs_{task}.csv"),
    script:
        "../workflow/scripts/collect_runs.py"


rule compare:
    input:
        runs="<results>/runs_{task}.csv",
        predictions=lambda wc: [
            str(Path(path).with_name("predictions.jsonl.gz")) for path in metrics_files(wc, expected_runs.compared)
        ],
    output:
        csv="<results>/compare_{task}.csv",
    log:
        "<logs>/tables/compare_{task}.log",
    conda:
        "../envs/hra.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        **made_from(
            "compare",
            ordered=True,
            **SCORES,
            settings=lambda wc: TASKS[wc.task].comparison(),
        ),
        lost=lost_inputs("compare_{task}.csv"),
        evaluations=lambda wc, input: expected_runs.with_predictions(TASKS[wc.task], EVAL, input.predictions),
    script:
        "../workflow/scripts/compare.py"


rule table:
    input:
        runs="<results>/runs_{task}.csv",
        comparison="<results>/compare_{task}.csv",
        published=published("{task}"),
        trials=trial_table,
    output:
        csv="<results>/table_{task}.csv",
        markdown="<results>/table_{task}.md",
    log:
        "<logs>/tables/table_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **made_from(
            "table",
            ordered=True,
            **SCORES,
            **SEARCHES,
            rows=lambda wc: grid.table_rows(config, wc.task),
            seeds_expected=lambda wc: grid.seeds_expected(config, wc.task),
            trained=lambda wc: [run for run in grid.run_names(config, wc.task) if methods.trains(config, run)],
            verdicts=lambda wc: outputs.verdicts(TASKS[wc.task]),
            published=lambda wc: outputs.published(TASKS[wc.task]),
        ),
        **unrecorded(
            benchmarks=lambda wc: user_data.benchmarks(TASKS[wc.task]),
            settings=lambda wc: TASKS[wc.task].comparison(),
            metrics=lambda wc: f"{EVAL}/metrics.json",
        ),
    script:
        "../workflow/scripts/table.py"


rule figures:
    input:
        runs="<results>/runs_{task}.csv",
        published=published("{task}"),
    output:
        **figure("parameters"),
    log:
        "<logs>/tables/figures_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **made_from(
            "figures",
            ordered=True,
            **SCORES,
            **SEARCHES,
            parameters=lambda wc: config["tasks"][wc.task]["figures"]["parameters"],
            labels=lambda wc: grid.labels(config, wc.task),
            colours=colours.of_methods(config),
            published=lambda wc: outputs.published(TASKS[wc.task]),
        ),
    script:
        "../workflow/scripts/figures.py"


use rule figures as figures_lambda with:
    input:
        runs="<results>/runs_{task}.csv",
        published=published("{task}"),
        published_lambda=lambda wc: (published("{task}_lambda")(wc) if TASKS[wc.task].lambda_sources[0] else []),
    output:
        **figure("lambda"),
    log:
        "<logs>/tables/figures_lambda_{task}.log",
    wildcard_constraints:
        task=one_of(name for name in config["tasks"] if "lambda" in outputs.figures(TASKS[name])) or "(?!)",
    params:
        **made_from(
            "figures_lambda",
            "figures",
            ordered=True,
            **{"lambda": lambda wc: config["tasks"][wc.task]["figures"]["lambda"]},
            lambdas=lambda wc: methods.lambdas(config, wc.task),
        ),


rule sheet:
    output:
        sheet="<results>/sheets/{task}_{dataset}.png",
    log:
        "<logs>/tables/sheet_{task}_{dataset}.log",
    wildcard_constraints:
        task="(?!)",
    conda:
        "../../envs/hra.yaml"
    params:
        **made_from(
            "sheet",
            ordered=True,
            metrics=lambda wc: outputs.sheet_metrics(config, wc.task, wc.dataset),
        ),
        labels=lambda wc, input: outputs.sheet_labels(config, wc.task, [*input.images, *input.predictions]),
        lost=lost_inputs("sheets/{task}_{dataset}.png"),
    script:
        "../../workflow/scripts/sheet.py"
