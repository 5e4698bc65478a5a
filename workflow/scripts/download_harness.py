"""Download the data of lm-evaluation-harness tasks, so that machines without network access can run them.

    X.manifest.json    version, dataset, revision and rows of each task; written last
    X/                 a cache of the Hugging Face libraries with the data

Params: include_path (a folder with additional tasks, or null) and benchmarks, name -> {task, shots, metric,
unsafe_code}. The harness specifies datasets without a revision: the newest at this moment is kept for all runs.
"""

import os
from pathlib import Path

from hra_workflow.core import files, provenance
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.core.wording import meant
from hra_workflow.data.http_download import out_of_space
from hra_workflow.tasks.math import programs

CACHES = {
    "HF_HUB_CACHE": "hub",
    "HF_DATASETS_CACHE": "datasets",
    "HF_MODULES_CACHE": "modules",
    "HF_EVALUATE_CACHE": "evaluate",
    "HF_METRICS_CACHE": "metrics",
}


@script
def main(job: dict) -> None:
    params, manifest = job["params"], Path(job["output"]["manifest"])
    folder = manifest.with_name(manifest.name.removesuffix(".manifest.json"))
    use_cache(folder)
    manager = open_tasks(params["benchmarks"], params["include_path"])
    requested = list(dict.fromkeys(entry["task"] for entry in params["benchmarks"].values()))
    # Delete the old manifest first: a folder without a manifest is not used.
    manifest.unlink(missing_ok=True)
    with out_of_space(manifest.parent):
        # One by one: the harness cannot load a group together with one of its tasks.
        tasks = {name: task for request in requested for name, task in manager.load(request)["tasks"].items()}
        for name, entry in params["benchmarks"].items():
            if entry.get("unsafe_code"):
                programs.check_task(name, tasks.get(entry["task"]))
        record = {
            "folder": folder.name,
            "lm_eval": provenance.version("lm_eval"),
            "requested": requested,
            "tasks": {name: describe(task) for name, task in sorted(tasks.items())},
        }
        files.write_json(manifest, record)
    print(f"{len(tasks)} tasks of lm-eval {record['lm_eval']} with their data in {folder}")


def use_cache(folder: Path, offline: bool = False) -> None:
    """Point the Hugging Face libraries at `folder`; they read these variables only once, on import."""
    os.environ |= {name: str(folder.resolve() / place) for name, place in CACHES.items()}
    if offline:
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}


def open_tasks(benchmarks: dict, include_path: str | None):
    """Return the harness's task registry, after checking that every benchmark's task exists and may run here."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include_path)
    for name, benchmark in benchmarks.items():
        task, unsafe = benchmark["task"], benchmark.get("unsafe_code", False)
        if task not in manager.task_index:
            raise JobError(
                f"benchmark {name}: lm-eval {provenance.version('lm_eval')} has no task {task!r}"
                f"{meant(task, manager.all_tasks)}. Correct the name; `lm-eval ls tasks` lists all."
            )
        if (manager.task_index[task].cfg or {}).get("unsafe_code") and not unsafe:
            raise JobError(
                f"benchmark {name}: {task} executes programs written by the model. Set `unsafe_code: true` in its "
                "config entry to run them, each in a sandbox (docs/config/tasks.md), or `false` to exclude the "
                "benchmark."
            )
        if unsafe:
            os.environ["HF_ALLOW_CODE_EVAL"] = "1"  # the `evaluate` package requires the same confirmation
    return manager


def describe(task) -> dict:
    """Describe a task's data; the cache's folders are named after the Hub's commit (for a local file, after a hash)."""
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
    main()
