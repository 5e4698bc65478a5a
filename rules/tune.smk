# Stage 3a, tune: for tasks with `tune`, trials of hyper-parameters on held-out rows of the training data. A trial is a training
# run (rules/train.smk) of a variant such as r8@learning_rate-0.001.
# In:  the records of the trials.
# Out: results/tune/{task}/{dataset}/{method}/{variant}.json (the chosen values, which the trainings read),
#      results/tune_{task}.csv (every trial), results/figures/{task}_tuning.svg and .png.
# Steps: choose, collect_trials, tuning_figure.
# `choose` is a checkpoint and its file is `ancient` in rule train: when it has run, Snakemake looks again at the params of the
# trainings. Equal values train nothing again.

from common.report import colours
from common.tasks import tuned_runs


localrules:
    choose,
    collect_trials,
    tuning_figure,


checkpoint choose:
    input:
        records=lambda wc: [
            one["record"] for one in tuned_runs.trials(TASKS[wc.task], wc.dataset, f"{wc.method}/{wc.variant}")
        ],
    output:
        choice="<results>/tune/{task}/{dataset}/{method}/{variant}.json",
    log:
        "<logs>/tune/{task}/{dataset}/{method}/{variant}.log",
    conda:
        "../envs/hra.yaml"
    params:
        trials=lambda wc: tuned_runs.trials(TASKS[wc.task], wc.dataset, f"{wc.method}/{wc.variant}"),
    script:
        "../workflow/scripts/choose.py"


rule collect_trials:
    input:
        records=lambda wc: [
            one["record"]
            for one in tuned_runs.every_trial(TASKS[wc.task])
            if not config["incomplete"] or Path(one["record"]).exists()
        ],
    output:
        csv=report(
            "<results>/tune_{task}.csv",
            caption="../workflow/report/trials.rst",
            category="{task}",
            labels={"what": "trials"},
        ),
    log:
        "<logs>/tables/tune_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        trials=lambda wc: tuned_runs.every_trial(TASKS[wc.task]),
    script:
        "../workflow/scripts/collect_trials.py"


rule tuning_figure:
    input:
        trials="<results>/tune_{task}.csv",
    output:
        svg=report(
            "<results>/figures/{task}_tuning.svg",
            caption="../workflow/report/tuning.rst",
            category="{task}",
            labels={"what": "tuning"},
        ),
        png="<results>/figures/{task}_tuning.png",
    log:
        "<logs>/tables/tuning_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        task="{task}",
        labels=lambda wc: {row["run"]: row["label"] for row in grid.table_rows(config, wc.task)},
        colours=colours.of_methods(config),
    script:
        "../workflow/scripts/tuning_figure.py"
