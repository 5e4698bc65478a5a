"""Write the table of trials: one row per dataset, run, trial, rung and seed, with values and held-out score.

A trial that diverged or failed has its error and no score; the chosen one of each dataset and run is marked.
"""

import pandas as pd

from common.core import files, tuning
from common.core.job import start
from common.report import tuning_results


def main(job: dict) -> None:
    trials = tuning_results.table(job["params"]["trials"])
    trials["chosen"] = "false"
    for _, group in trials.groupby(tuning_results.RUN, sort=False):
        chosen = tuning_results.best(group)
        last = group["rung"] == tuning.END
        trials.loc[group.index[last & (group["trial"] == chosen)], "chosen"] = "true"
    values = pd.DataFrame(list(trials.pop("values")), index=trials.index)
    trials = pd.concat([trials[[*tuning_results.RUN, "trial", "seed"]], values, trials[tuning_results.COLUMNS]], axis=1)
    for name in ("held_out_rows", "train_rows", "steps"):
        trials[name] = trials[name].astype("Int64")
    text = trials.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    files.write_text(job["output"]["csv"], text)


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
