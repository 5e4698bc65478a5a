"""The number of files and folders that tables leave, per folder of `pathvars`: an upper bound, for quotas of inodes."""

from collections import Counter
from collections.abc import Iterable
from os.path import dirname, normpath, splitext

from common import tasks
from common.planning import downloads, gpu_hours
from common.planning.planned_jobs import Job

SNAKEMAKE, OWN = ".snakemake", 30  # with its folders and the log of a call
WEIGHTS = 3  # of a checkpoint that a run keeps: a folder with the weights and the adapter's config
INITIAL = 2  # of an initial adapter, next to its manifest
SLURM = 2  # of a job: a folder with the log of its first attempt
PACK = 3  # of a run in a pack of its own: the pack's folder, its description, the run's exit status
GENERATED = 100  # of data that a function writes
HARNESS = 2000  # of lm-evaluation-harness: a dataset per subject of MMLU, each with its caches


def count(config: dict, planned: Iterable[Job], missing: bool = False) -> Counter[str]:
    """Count what the jobs leave once they have finished; `missing`: only those that have yet to run.

    Batches and checkpoints of running jobs, and the logs of retries, are not counted.
    """
    every, found = tasks.load(config), Counter()
    folders = {normpath(folder): name for name, folder in config["pathvars"].items()}

    def place(folder: str) -> str:
        """Return the name of a folder's place, and remember the folder."""
        if folder not in folders:
            above = dirname(folder)
            folders[folder] = place(above) if above != folder else "elsewhere"
        return folders[folder]

    for one in planned:
        if not one.outputs or (missing and not one.needed):
            continue
        task = gpu_hours.task_of(every, one.rule, one.wildcards)
        kept = [] if one.merged else one.outputs
        found.update(place(dirname(normpath(path))) for path in (*kept, one.log, one.benchmark) if path)
        found[place(dirname(normpath(one.outputs[0])))] += beside_outputs(config, task, one)
        found[SNAKEMAKE] += len(one.outputs)  # a record each
        if one.error:  # not one of the short local jobs
            found["logs"] += SLURM
            if one.runs_per_gpu > 1:
                found.update({SNAKEMAKE: PACK, "logs": SLURM})
            found[place(dirname(normpath(one.error)))] += task.scratch_files(one.stage, one.wildcards) if task else 0
    return found + Counter(folders.values()) + Counter({SNAKEMAKE: OWN})


def beside_outputs(config: dict, task: tasks.base.Task | None, one: Job) -> int:
    """Bound the files and folders that a job writes next to its declared outputs."""
    if one.stage == "download":
        return downloaded(config, one)
    if one.stage == "augment":
        return INITIAL
    if one.stage == "train":
        stamps = sum(not splitext(path)[1] for path in one.outputs)  # Snakemake's, in every output that is a folder
        return WEIGHTS * task.checkpoints(one.wildcards, one.outputs) + stamps
    return task.files_beside(one.stage, one.wildcards) if task else 0


def downloaded(config: dict, one: Job) -> int:
    """Bound the files of a download, as downloaded and converted, each perhaps in a folder of its own."""
    stated, manifest = downloads.entry(config, one)[0], gpu_hours.read(one.outputs[0])
    listed = manifest.get("files") or stated.get("source", {}).get("files")
    if not listed:
        return GENERATED if stated else HARNESS
    return 2 * (len(listed) + len(manifest.get("raw", {})) + len(stated.get("splits", ()))) + 1


def summary(config: dict, planned: Iterable[Job]) -> str:
    """Describe the count in one line."""
    found = count(config, planned)
    parts = ", ".join(f"{name} {amount:,}" for name, amount in sorted(found.items()))
    return f"at most {found.total():,} with folders ({parts})"
