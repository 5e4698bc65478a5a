"""The data of a task: its benchmarks, and the checks of the user's files before the first job."""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import plural
from hra_workflow.data import sources
from hra_workflow.data.sources import local
from hra_workflow.tasks.base import Task

CLASSES = 6  # up to so many classes, the plan shows every count

checked: dict[Path, dict[str, dict]] = {}  # by manifest: what `check` has found in this process


def benchmarks(task: Task) -> list[dict]:
    """Return the benchmarks of the training sets of the grid."""
    return [one for name in dict.fromkeys(run["dataset"] for run in task.runs()) for one in benchmarks_of(task, name)]


def benchmarks_of(task: Task, name: str) -> list[dict]:
    """Return the benchmarks of a training set, each of which is a split of it, or another dataset and its split.

    dataset: the training set. benchmark: the name. train, reported: the manifests of the training and the evaluation
    dataset. split: that of the latter.
    """
    sources = task.entry(name).get("benchmarks", {}).items()
    return [
        {"dataset": name, "benchmark": benchmark, "train": manifest(task, name)}
        | {"reported": manifest(task, other or name), "split": split}
        for benchmark, source in sources
        for other, _, split in [source.rpartition("/")]
    ]


def manifest(task: Task, name: str) -> str:
    return task.inputs(name)["dataset"]


def check(task: Task, name: str) -> None:
    """Check a dataset in the user's files, unless its download has; raise JobError for unusable data."""
    if not is_own(task, name):
        return  # known after the download
    found, place = source(task, name), folder(task, name)
    user_files = found.user_files(task.download(name))
    try:
        contents = downloaded(task, name, user_files) or task.check_files(name, user_files, place)
    except JobError as problem:
        dataset, text = f"{task.name}/{name}", local.located(str(problem), place)
        raise JobError(text if text.startswith(dataset) else f"{dataset}: {text}") from problem
    checked[Path(manifest(task, name)).absolute()] = contents


def downloaded(task: Task, name: str, user_files: dict[str, Path]) -> dict[str, dict]:
    """Return the rows of a finished download of the same files with the same entry, by split; {}: there is none."""
    done = files.read_if_valid(manifest(task, name))
    own = done.get("own", {})
    if done.get("dataset") != task.download(name):
        return {}
    if local.hashes(own) != local.hashes(local.describe_files(user_files, own)):
        return {}
    return {split: {"rows": count} for split, count in done["rows"].items()}


def rows(task: Task, name: str) -> dict[str, int]:
    """Return the rows of a dataset by split: those of the user's checked files, else of the manifest; {}: unknown."""
    path = Path(manifest(task, name)).absolute()
    if path in checked:
        return {split: contents["rows"] for split, contents in checked[path].items()}
    return files.read_if_valid(path).get("rows", {})


def contents(task: Task) -> list[str]:
    """Describe the user's checked datasets: `mine: train 960 rows (2 classes: bad 480, good 480), dev 320 rows`."""
    found = {name: checked.get(Path(manifest(task, name)).absolute(), {}) for name in task.datasets}
    shown = {name: [described(*split) for split in splits.items()] for name, splits in found.items()}
    return [f"{name}: {', '.join(splits)}" for name, splits in shown.items() if splits]


def described(split: str, contents: dict) -> str:
    if split == "images":  # of a subject
        return plural(contents["rows"], "image")
    text, classes = f"{split} {plural(contents['rows'], 'row')}", contents.get("classes", {})
    if len(classes) > CLASSES:
        return f"{text} ({len(classes)} classes of {min(classes.values()):,} to {max(classes.values()):,})"
    counts = ", ".join(f"{label} {count:,}" for label, count in classes.items())
    return f"{text} ({len(classes)} classes: {counts})" if classes else text


def source(task: Task, name: str) -> sources.Source:
    return sources.of(task.datasets[name]["source"], local_root=task.config["local_root"])


def is_own(task: Task, name: str) -> bool:
    return source(task, name).own


def folder(task: Task, name: str) -> Path:
    return source(task, name).folder()
