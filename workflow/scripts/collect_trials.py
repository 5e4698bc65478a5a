"""Write the table of trials: one row per dataset, run, trial and seed, with values and held-out score.

A trial that diverged or failed has its error and no score. For each dataset and run, the trial whose values the final
runs use is marked.
"""

from pathlib import Path

import pandas as pd

from hra_workflow import tasks
from hra_workflow.core import files, tuning
from hra_workflow.core.job import as_list, script
from hra_workflow.report import tuning_results


@script
def main(job: dict) -> None:
    params = job["params"]
    trials = tuning_results.table(params["trials"], params["expected"], params["incomplete"])
    kind = tasks.classes()[job["wildcards"]["task"]]
    # Keys: (dataset, method, variant), the end of the path.
    choices = {Path(path).with_suffix("").parts[-3:]: path for path in as_list(job["input"].get("choices"))}
    for run, of_run in trials.groupby(tuning_results.RUN):
        if not params["incomplete"]:
            tuning_results.check_choice(choices[run], of_run, kind)
    chosen = {run: tuning.chosen_values(path) for run, path in choices.items()}
    trials["chosen"] = [
        str(chosen.get(tuple(one[tuning_results.RUN])) == one["values"]).lower() for _, one in trials.iterrows()
    ]
    values = pd.DataFrame(list(trials.pop("values")), index=trials.index)
    trials = pd.concat([trials[[*tuning_results.RUN, "trial", "seed"]], values, trials[tuning_results.COLUMNS]], axis=1)
    for name in ("held_out_rows", "train_rows", "steps"):
        trials[name] = trials[name].astype("Int64")
    files.write_text(job["output"]["csv"], trials.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


if __name__ == "__main__":
    main()
