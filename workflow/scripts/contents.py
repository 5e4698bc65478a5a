"""Write results/contents.json: what the config specifies about the results and their files do not contain.

Programs that only read results need it, such as for titles, labels, datasets and the expected runs. Its paths are
relative to the folder in which Snakemake runs.
"""

import json
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.job import script
from hra_workflow.data import data_cards, leaks
from hra_workflow.report import user_functions

REPLACED = ("data", "benchmarks", "functions")


def contents(params: dict) -> dict:
    """Replace the manifests by the warnings about their data, and the names of the user's functions by their files."""
    every = params["tasks"].values()
    return {
        "results": params["results"],
        "tasks": {
            name: {key: value for key, value in facts.items() if key not in REPLACED}
            | {"warnings": [*data_cards.warnings(facts["data"]), *leaks.warnings(facts["benchmarks"])]}
            for name, facts in params["tasks"].items()
        },
        "modules": user_functions.modules(name for facts in every for name in facts["functions"]),
        "changes": params["changes"],
    }


@script
def main(job: dict) -> None:
    path = Path(job["output"]["contents"])
    params = job["params"] | {"results": str(path.parent)}
    files.write_text(path, json.dumps(contents(params), indent=1) + "\n")


if __name__ == "__main__":
    main()
