"""Choose the trials of a run that continue after a rung of successive halving: the best ones on held-out rows.

The script deletes the training checkpoints of the others.
"""

from pathlib import Path

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.core.job import start
from hra_workflow.report import tuning_results
from hra_workflow.training import checkpoints


def main(job: dict) -> None:
    params = job["params"]
    kind = tasks.classes()[job["wildcards"]["task"]].table
    trials = tuning_results.table(params["trials"], params["expected"])
    going_on = tuning_results.going_on(trials, params["factor"], kind)
    for trial, folders in params["checkpoints"].items():
        for folder in folders if trial not in going_on else ():
            checkpoints.remove(Path(folder))
    files.write_json(job["output"]["promoted"], {"trials": going_on})


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
