"""Choose the hyper-parameters of a run on a dataset: the values of its best trial on held-out rows.

Writes a small file, which the training jobs of the run read. If all trials failed, it has their first error instead.
"""

from hra_workflow import tasks
from hra_workflow.core import records
from hra_workflow.core.job import script
from hra_workflow.report import tuning_results


@script
def main(job: dict) -> None:
    trials = tuning_results.table(job["params"]["trials"], job["params"]["expected"])
    best = tuning_results.best(trials, tasks.classes()[job["wildcards"]["task"]])
    if best is None:
        names = "{method}/{variant} on {dataset}".format(**job["wildcards"])
        error = next(filter(None, trials["error"]), "a trial has no record")
        text = (
            f"none of the {trials['trial'].nunique()} trials of {names} has a final score. The first error: {error}. "
            "Change `tune.search`, or delete the trials' train.json to repeat them"
        )
        content = {"values": {}, "error": text}
    else:
        content = {"values": next(one["values"] for one in job["params"]["trials"] if one["trial"] == best)}
    records.write(job["output"]["choice"], content)


if __name__ == "__main__":
    main()
