"""Disk space that a table needs, per folder: of the existing files, else estimated from records and the config."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from hra_workflow import methods, tasks
from hra_workflow.core import files, tuning
from hra_workflow.core.wording import listed, number
from hra_workflow.cost import downloads, estimates
from hra_workflow.cost.planned_jobs import Job

# AdamW keeps two moments of the size of the weights; an old checkpoint is removed after the new one is complete.
CHECKPOINTS = 2 * 3


@dataclass
class Disk:
    """Bytes that a table needs.

    folders: `results` and `resources` → contents → bytes. training: bytes in `scratch` during the largest training run,
    which is `largest`; as many runs train at a time as there are GPUs. unknown: contents without an estimate.
    """

    folders: dict[str, dict[str, float]] = field(default_factory=dict)
    training: float = 0.0
    largest: str = ""
    unknown: list[str] = field(default_factory=list)

    def add(self, folder: str, what: str, amount: float) -> None:
        if amount:
            part = self.folders.setdefault(folder, {})
            part[what] = part.get(what, 0.0) + amount

    def __str__(self) -> str:
        """Describe the space in one line, in GB."""
        parts = [
            f"{folder} {gigabytes(sum(part.values()))} ("
            + ", ".join(f"{what} {number(amount / 1e9)}" for what, amount in part.items())
            + ")"
            for folder, part in sorted(self.folders.items())
        ]
        if self.training:
            parts.append(f"scratch {gigabytes(self.training)} per concurrent run (the largest: {self.largest})")
        if self.unknown:
            parts.append(f"unknown before the first run: {listed(sorted(set(self.unknown)), 4)}")
        return "; ".join(parts) or "nothing"


def estimate(config: dict, planned: Iterable[Job], missing: bool = False) -> Disk:
    """Estimate the disk space of the outputs of a table's jobs. `missing`: only of the remaining jobs."""
    found, every, planned = Disk(), tasks.load(config), list(planned)
    sizes, downloaded = weights(planned), {}
    for one in downloads.download_jobs(planned):
        dataset = one.wildcards.get("task"), one.wildcards.get("dataset")
        amount = downloads.size(config, one)
        # Files that are read in place take no space, although their manifest has their size.
        downloaded[dataset] = downloads.manifest_bytes(one.outputs[0]) or amount
        if one.needed or not missing:
            found.add(folder(config, one), "downloads", amount or 0.0)
    for one in planned:
        task = estimates.task_of(every, one.rule, one.wildcards)
        if missing and not one.needed:
            continue
        if one.stage == "augment":
            found.add(folder(config, one), "initial adapters", downloads.manifest_bytes(one.outputs[0]))
        elif one.stage == "train":
            amount = weight(config, task, one, sizes)
            count = task.checkpoints(one.wildcards, one.outputs)
            if amount is None:
                found.unknown.append(variant(one))
                continue
            found.add(folder(config, one), "weights", amount * count)
            if amount * (CHECKPOINTS + count) > found.training:
                found.training, found.largest = amount * (CHECKPOINTS + count), variant(one)
        elif task and one.stage != "download":
            raw = downloaded.get((one.wildcards.get("task", task.name), one.wildcards.get("dataset")))
            for what, amount in task.output_bytes(one.stage, one.wildcards, raw).items():
                exact = downloads.manifest_bytes(one.outputs[0]) or file_bytes(one.outputs[0])
                if exact or amount is not None:
                    found.add(folder(config, one), what, exact or amount)
                else:
                    found.unknown.append(f"{what} of {one.wildcards.get('dataset')}")
    return found


def weights(planned: Iterable[Job]) -> dict[tuple[str, str], float]:
    """Return the bytes of one checkpoint's weights per task and variant, from runs or their initial adapters."""
    sizes = {}
    for one in planned:
        name = one.wildcards.get("task"), variant(one)
        if one.stage == "train" and (size := files.read_if_valid(one.record).get("adapter_bytes")):
            sizes[name] = size
        elif one.stage == "augment" and (amount := downloads.manifest_bytes(one.outputs[0])):
            sizes.setdefault(name, amount)
    return sizes


def weight(config: dict, task: tasks.base.Task, one: Job, sizes: dict) -> float | None:
    """Return the bytes of one checkpoint's weights of a training run; None: unknown."""
    if not methods.trains(task.config, variant(one)):
        return 0.0
    known = sizes.get((task.name, variant(one)))
    if known is None and methods.get(config, one.wildcards["method"]).base == "all":
        parameters = config["models"][task.settings["model"]].get("parameters")
        return parameters and 4 * parameters
    return known


def folder(config: dict, one: Job) -> str:
    """Return the name of the folder in `pathvars` that a job writes to."""
    path = os.path.abspath(one.outputs[0])
    places = {os.path.abspath(place): name for name, place in config["pathvars"].items()}
    return places[max((place for place in places if path.startswith(f"{place}/")), key=len)]


def file_bytes(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def variant(one: Job) -> str:
    """Return `method/variant`; a trial's weights have the size of the run's."""
    return f"{one.wildcards.get('method')}/{tuning.base(one.wildcards.get('variant', ''))}"


def gigabytes(amount: float) -> str:
    return f"{number(amount / 1e9)} GB"
