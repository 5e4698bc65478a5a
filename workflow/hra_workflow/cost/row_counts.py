"""Numbers of rows for estimates, read from data cards where the config does not state them."""

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.data import data_cards


def complete(config: dict) -> dict:
    """Return the config with the known `rows` in every dataset of a grid that has splits."""
    datasets = dict(config["datasets"])
    for task in tasks.load(config).values():
        used = {run["dataset"] for run in task.runs()}
        datasets[task.name] = task.datasets | {
            name: entry | {"rows": entry.get("rows") or rows(task.inputs(name)["dataset"])}
            for name, entry in task.datasets.items()
            if name in used and "splits" in entry
        }
    return config | {"datasets": datasets}


def rows(manifest: str) -> dict[str, int]:
    """Return the rows of every split by a dataset's card, which may not exist before the download."""
    splits = files.read_if_valid(data_cards.path_of(manifest)).get("splits", {})
    return {split: contents["rows"] for split, contents in splits.items()}
