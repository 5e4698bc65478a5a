"""Numbers of rows and tokens for estimates, read from data cards where the config does not state them."""

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.data import data_cards

CHARACTERS_PER_TOKEN = 4  # of English texts


def complete(config: dict) -> dict:
    """Return the config with the known `rows`, and `tokens` of a row, in every dataset of a grid that has splits."""
    datasets = dict(config["datasets"])
    for task in tasks.load(config).values():
        used = {run["dataset"] for run in task.runs()}
        found = {
            name: completed(entry, task.training.inputs(name)["dataset"])
            for name, entry in task.datasets.items()
            if name in used and "splits" in entry
        }
        datasets[task.name] = task.datasets | found
    return config | {"datasets": datasets}


def completed(entry: dict, manifest: str) -> dict:
    """Return a dataset's entry with the numbers of its card, which may not exist before the download."""
    splits = files.read_if_valid(data_cards.path_of(manifest)).get("splits", {})
    characters = splits.get(data_cards.TRAIN, {}).get("characters")
    tokens = {"tokens": -(-characters // CHARACTERS_PER_TOKEN)} if characters else {}
    rows = entry.get("rows") or {split: contents["rows"] for split, contents in splits.items()}
    return tokens | entry | {"rows": rows}
