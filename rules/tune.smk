# Stage 3a, tune: trials of hyper-parameters on held-out rows. A trial is a training run of a variant such as r8@learning_rate-0.001.
# In:  the records of the trials (rules/train.smk).
# Out: results/tune/{task}/{dataset}/{method}/{variant}.json (chosen values, for final runs), results/tune_{task}.csv (every trial).
# Steps: choose, collect_trials.
# Again: `choose` after its trials, or if the values to try have changed. `choose` is a checkpoint and its file is
# `ancient` in rule train: after it has run, Snakemake compares the params of the final runs again. Equal values repeat no training.

from hra_workflow.tasks import tuned_runs


localrules:
    choose,
    collect_trials,


checkpoint choose:
    input:
        records=lambda wc: [trial["record"] for trial in trials_of(wc)],
    output:
        choice="<results>/tune/{task}/{dataset}/{method}/{variant}.json",
    log:
        "<logs>/tune/{task}/{dataset}/{method}/{variant}.log",
    conda:
        "../envs/hra.yaml"
    params:
        **made_from(
            "choose",
            trials=trials_of,
            expected=lambda wc: expected_trials(wc.task, trials_of(wc)),
        ),
    script:
        "../workflow/scripts/choose.py"


rule collect_trials:
    input:
        records=lambda wc: tuned_runs.records(TASKS[wc.task], config["incomplete"]),
        # The run table reads this file and so waits for the training runs that a new choice repeats.
        choices=lambda wc: tuned_runs.choices(TASKS[wc.task], config["incomplete"]),
    output:
        csv="<results>/tune_{task}.csv",
    log:
        "<logs>/tables/tune_{task}.log",
    wildcard_constraints:
        task=one_of(name for name in config["tasks"] if tuned_runs.tuned(TASKS[name])) or "(?!)",
    conda:
        "../envs/hra.yaml"
    params:
        **made_from(
            "collect_trials",
            ordered=True,
            trials=all_trials,
            expected=lambda wc: expected_trials(wc.task, all_trials(wc)),
        ),
        **unrecorded(
            incomplete=config["incomplete"],
        ),
        lost=lost_inputs("tune_{task}.csv"),
    script:
        "../workflow/scripts/collect_trials.py"
