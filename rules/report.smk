# The report: tables, figures, contact sheets and every run, in one HTML file that needs no network.
# In:  run tables, tables, figures and contact sheets of the tasks of `all` that have a table (if none has, of all tasks). The
#      script also reads the records, predictions and images of their runs, and the logs of failed jobs.
# Out: results/report.html.
# Steps: report.


REPORTED = [TASKS[name] for name in CHOSEN]


rule report:
    input:
        lambda wc: reported.files(config, REPORTED),
    output:
        html="<results>/report.html",
    log:
        "<logs>/tables/report.log",
    conda:
        "../envs/hra.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        **recorded_in_order(
            tasks=lambda wc: reported.tasks(config, REPORTED),
            changes=lambda wc: overlays.changes(config, CONFIGS),
        ),
        lost=lost_inputs("report.html"),
    script:
        "../workflow/scripts/report.py"
