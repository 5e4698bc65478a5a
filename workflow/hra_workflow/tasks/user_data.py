"""The data of a task: its manifests, and cards of the user's datasets, made before the first job."""

from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.data import data_cards, sources
from hra_workflow.data.sources import local
from hra_workflow.tasks.base import Task


def manifests(task: Task) -> list[str]:
    """Return the manifests of the data that the runs of the grid are trained and evaluated on."""
    every = trained_on(task)
    every |= dict.fromkeys(other for name in list(every) for other, _ in reported_elsewhere(task, name))
    return [manifest(task, name) for name in every]


def benchmarks(task: Task) -> list[dict]:
    """Return the benchmarks of the training sets, as data/leaks.py describes them."""
    return [one for name in trained_on(task) for one in benchmarks_of(task, name)]


def benchmarks_of(task: Task, name: str) -> list[dict]:
    """Return the benchmarks of a training set, each of which is a split of it, or another dataset and its split."""
    sources = task.entry(name).get("benchmarks", {}).items()
    return [
        {"dataset": name, "benchmark": benchmark, "train": manifest(task, name)}
        | {"reported": manifest(task, other or name), "split": split}
        for benchmark, source in sources
        for other, _, split in [source.rpartition("/")]
    ]


def trained_on(task: Task) -> dict[str, None]:
    return dict.fromkeys(run["dataset"] for run in task.runs())


def reported_elsewhere(task: Task, name: str) -> list[tuple[str, str]]:
    """Return dataset and split of a training set's benchmarks in other datasets."""
    sources = [source.split("/") for source in task.entry(name).get("benchmarks", {}).values() if "/" in source]
    return [(other, split) for other, split in sources if other != name]


def manifest(task: Task, name: str) -> str:
    return task.inputs(name)["dataset"]


def check(task: Task, name: str) -> None:
    """Make the card of a dataset in the user's files, unless it is current; raise JobError for unusable data."""
    if not is_own(task, name):
        return  # known after the download
    path, entry, place = data_cards.path_of(manifest(task, name)), task.card_entry(name), folder(task, name)
    user_files = paths(task, name)
    try:
        data_cards.current(path, entry, user_files, lambda: task.card(name, user_files, place))
    except JobError as problem:
        dataset, text = f"{task.name}/{name}", local.located(str(problem), place)
        raise JobError(text if text.startswith(dataset) else f"{dataset}: {text}") from problem
    for other, split in reported_elsewhere(task, name):
        downloaded = all(Path(manifest(task, one)).exists() for one in (name, other))
        if is_own(task, other) and not downloaded:
            check_pair(task, name, other, split)


def check_pair(task: Task, name: str, other: str, split: str) -> None:
    """Make the card of rows in a user's training set that are also in another of the user's datasets."""
    from hra_workflow.data import leaks, text_card, text_tables

    def examples(dataset: str, split: str) -> text_card.Examples:
        entry = task.download(dataset)
        found = text_tables.checked_split(dataset, split, entry, folder(task, dataset), task.final_answer)
        return text_card.examples_of(f"{dataset}/{split}", found)

    def make() -> dict:
        return leaks.between(examples(name, data_cards.TRAIN), examples(other, split))

    path = leaks.path_of(manifest(task, name), manifest(task, other), split)
    user_files = {f"{one}/{file}": place for one in (name, other) for file, place in paths(task, one).items()}
    data_cards.current(path, {one: task.card_entry(one) for one in (name, other)}, user_files, make)


def source(task: Task, name: str) -> sources.Source:
    return sources.of(task.datasets[name]["source"], local_root=task.config["local_root"])


def is_own(task: Task, name: str) -> bool:
    return source(task, name).own


def folder(task: Task, name: str) -> Path:
    return source(task, name).folder()


def paths(task: Task, name: str) -> dict[str, Path]:
    return source(task, name).user_files(task.download(name))
