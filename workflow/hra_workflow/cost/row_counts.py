"""Numbers of rows for estimates, read from the data cards of datasets without `rows` in their config entry."""

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.data import data_cards


def complete(config: dict) -> dict:
    """Return the config with the known numbers of `rows` in every dataset of a grid that has splits."""
    datasets = dict(config["datasets"])
    for task in tasks.load(config).values():
        used = {run["dataset"] for run in task.runs()}
        found = {
            name: entry | {"rows": known(task.training.inputs(name)["dataset"])}
            for name, entry in task.datasets.items()
            if name in used and "splits" in entry and not entry.get("rows")
        }
        datasets[task.name] = task.datasets | found
    return config | {"datasets": datasets}


def known(manifest: str) -> dict[str, int]:
    """Return the rows per split; {} for a dataset that has not been downloaded yet."""
    card = files.read_if_valid(data_cards.path_of(manifest))
    return {split: contents["rows"] for split, contents in card.get("splits", {}).items()}
