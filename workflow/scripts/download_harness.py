"""Bring what tasks of lm-evaluation-harness read, so that machines without network can run them.

    X.manifest.json    what came: per task its version, data set, revision and rows; written last
    X/                 the cache of the Hugging Face libraries that holds it

Params: include_path (a folder with further tasks, or null) and benchmarks, name -> {task, shots, metric, unsafe_code}.
The harness names data sets without a revision: what is the newest at this moment stays in the folder for all runs.
"""

import difflib
import os
from pathlib import Path

from common.core import files, provenance
from common.core.errors import JobError
from common.core.job import start
from common.data.http_download import out_of_space

CACHES = {
    "HF_HUB_CACHE": "hub",
    "HF_DATASETS_CACHE": "datasets",
    "HF_MODULES_CACHE": "modules",
    "HF_EVALUATE_CACHE": "evaluate",
    "HF_METRICS_CACHE": "metrics",
}


def main(job: dict) -> None:
    params, manifest = job["params"], Path(job["output"]["manifest"])
    folder = manifest.with_name(manifest.name.removesuffix(".manifest.json"))
    use_cache(folder)
    manager = open_tasks(params["benchmarks"], params["include_path"])
    requested = list(dict.fromkeys(entry["task"] for entry in params["benchmarks"].values()))
    # The old manifest goes first: a folder without one counts as nothing.
    manifest.unlink(missing_ok=True)
    with out_of_space(manifest.parent):
        # One by one: the harness loads no group together with one of its tasks.
        tasks = {name: task for request in requested for name, task in manager.load(request)["tasks"].items()}
        record = {
            "folder": folder.name,
            "lm_eval": provenance.version("lm_eval"),
            "requested": requested,
            "tasks": {name: describe(task) for name, task in sorted(tasks.items())},
        }
        files.write_json(manifest, record)
    print(f"{len(tasks)} tasks of lm-eval {record['lm_eval']} with their data in {folder}")


def use_cache(folder: Path, offline: bool = False) -> None:
    """Point the Hugging Face libraries at `folder`: they read these variables once, when they are imported."""
    os.environ |= {name: str(folder.resolve() / place) for name, place in CACHES.items()}
    if offline:
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}


def open_tasks(benchmarks: dict, include_path: str | None):
    """The harness's register of tasks, after a look that each benchmark's task is in it and may run here."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include_path)
    for name, benchmark in benchmarks.items():
        task, unsafe = benchmark["task"], benchmark.get("unsafe_code", False)
        if task not in manager.task_index:
            near = ", ".join(difflib.get_close_matches(task, manager.all_tasks)) or "none"
            raise JobError(
                f"benchmark {name}: lm-eval {provenance.version('lm_eval')} has no task {task!r}; like it: {near}."
            )
        if (manager.task_index[task].cfg or {}).get("unsafe_code") and not unsafe:
            raise JobError(
                f"benchmark {name}: {task} runs programs that the model has written. Set `unsafe_code: true` in its "
                "entry of the config to run them, in isolation where the kernel allows it (README), or `false` to "
                "leave the benchmark out."
            )
        if unsafe:
            os.environ["HF_ALLOW_CODE_EVAL"] = "1"  # the same question, asked by the `evaluate` package
    return manager


def describe(task) -> dict:
    """Which data a task reads; the cache's folders are named after the hub's commit (a local file's after a hash)."""
    splits = dict(task.dataset)
    stored = {Path(file["filename"]).parent.name for rows in splits.values() for file in rows.cache_files}
    return {
        "version": task.VERSION,
        "dataset": task.config.dataset_path,
        "config": task.config.dataset_name,
        "revision": ", ".join(sorted(stored)),
        "rows": {split: rows.num_rows for split, rows in splits.items()},
    }


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
