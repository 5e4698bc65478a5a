# Stage 3a, tune: for tasks with `tune`, trials of hyper-parameters on held-out rows of the training data. A trial is a training
# run (rules/train.smk) of a variant such as r8@learning_rate-0.001.
# With successive halving, a trial is a run per rung, such as r8@learning_rate-0.001@rung-0.25, which resumes from the run of
# the previous rung.
# In:  the records of the trials.
# Out: results/tune/{task}/{dataset}/{method}/{variant}/rung-{rung}.json (the trials promoted from a rung),
#      results/tune/{task}/{dataset}/{method}/{variant}.json (the chosen values, which the final runs read),
#      results/tune_{task}.csv (every trial), results/figures/{task}_tuning.svg and .png.
# Steps: promote, choose, collect_trials, tuning_figure.
# `promote` is a checkpoint: a rung's trials are known once those of the previous rung are finished.
# Again: `promote` and `choose` after their trials, or if the values to try have changed. `choose` is a checkpoint and its file is
# `ancient` in rule train: after it has run, Snakemake compares the params of the final runs again. Equal values repeat no training.

from hra_workflow.report import colours
from hra_workflow.tasks import tuned_runs


localrules:
    promote,
    choose,
    collect_trials,
    tuning_figure,


checkpoint promote:
    input:
        records=lambda wc: tuned_runs.records_at(TASKS[wc.task], wc, float(wc.rung), checkpoints),
    output:
        promoted="<results>/tune/{task}/{dataset}/{method}/{variant}/rung-{rung}.json",
    log:
        "<logs>/tune/{task}/{dataset}/{method}/{variant}/rung-{rung}.log",
    wildcard_constraints:
        rung=r"[\d.e-]+",
    conda:
        "../envs/hra.yaml"
    params:
        **recorded(
            trials=trials_at,
            factor=lambda wc: TASKS[wc.task].settings["tune"]["halving"]["factor"],
            expected=lambda wc: expected_trials(wc.task, trials_at(wc)),
        ),
        **unrecorded(checkpoints=lambda wc: tuned_runs.checkpoints_of(TASKS[wc.task], trials_at(wc))),
    script:
        "../workflow/scripts/promote.py"


checkpoint choose:
    input:
        records=lambda wc: tuned_runs.records(TASKS[wc.task], wc, checkpoints),
    output:
        choice="<results>/tune/{task}/{dataset}/{method}/{variant}.json",
    log:
        "<logs>/tune/{task}/{dataset}/{method}/{variant}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **recorded(
            trials=trials_of,
            expected=lambda wc: expected_trials(wc.task, trials_of(wc)),
        ),
    script:
        "../workflow/scripts/choose.py"


rule collect_trials:
    input:
        records=lambda wc: tuned_runs.all_records(TASKS[wc.task], checkpoints, config["incomplete"]),
        # The run table reads this file and so waits for the training runs that a new choice repeats.
        choices=lambda wc: tuned_runs.choices(TASKS[wc.task], config["incomplete"]),
    output:
        csv=in_report("<results>/tune_{task}.csv", "../workflow/report/trials.rst", "trials"),
    log:
        "<logs>/tables/tune_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **recorded_in_order(trials=all_trials),
        **unrecorded(
            expected=lambda wc: expected_trials(wc.task, all_trials(wc)),
            incomplete=config["incomplete"],
        ),
        lost=lost_inputs("tune_{task}.csv"),
    script:
        "../workflow/scripts/collect_trials.py"


rule tuning_figure:
    input:
        trials="<results>/tune_{task}.csv",
    output:
        svg=in_report("<results>/figures/{task}_tuning.svg", "../workflow/report/tuning.rst", "tuning"),
        png="<results>/figures/{task}_tuning.png",
    log:
        "<logs>/tables/tuning_{task}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **recorded_in_order(
            task="{task}",
            labels=lambda wc: grid.labels(config, wc.task),
            colours=colours.of_methods(config),
        ),
        lost=lost_inputs("figures/{task}_tuning.svg"),
    script:
        "../workflow/scripts/tuning_figure.py"
