"""Evaluate a run on lm-evaluation-harness benchmarks, to measure the remaining abilities of the base model (Table 3).

Benchmarks: name -> {task, shots, metric, unsafe_code}, as described in download_harness.py. Values are fractions. Every
program that `unsafe_code` allows is recorded with its outcome.
"""

import time
from pathlib import Path

import download_harness
from hra_workflow.core import files, finished_run, made_from, manifests, predictions, provenance, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.models import causal_lm
from hra_workflow.tasks.math import isolation, programs


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    started = time.monotonic()
    params, benchmarks = job["params"], job["params"]["benchmarks"]
    sandbox = isolation.check() if any(map(executes, benchmarks.values())) else None
    record = finished_run.read(job, job["input"]["last"])
    harness = open_harness(Path(job["input"]["harness"]), benchmarks)
    manager = download_harness.open_tasks(benchmarks, params["include_path"])
    device = provenance.pick_device(job)
    folder = manifests.folder(job["input"]["model"])
    tokenizer = causal_lm.load_tokenizer(folder)
    model = causal_lm.load_run(
        folder, params["method"], Path(job["input"]["last"]), params["precision"], device, params.get("quantization")
    )
    results, executed = {}, []
    for name, benchmark in benchmarks.items():
        found = run(name, benchmark, model, tokenizer, manager, params)
        if executes(benchmark):
            found, outcomes = programs.score(name, benchmark, found)
            found["isolation"] = sandbox
            executed += outcomes
        results[name] = result(name, benchmark, found)
        print(f"{name}: {results[name]}", flush=True)

    predictions.write(job["output"]["programs"], executed)
    records.write(
        job["output"]["metrics"],
        {key: record[key] for key in ("task", "dataset", "method", "variant", "seed")}
        | {
            "task_version": params["task_version"],
            "benchmarks": results,
            "limit": params["limit"],
            "lm_eval": harness,
            "seconds": round(time.monotonic() - started, 3),
            "device": provenance.device_name(device),
            made_from.KEY: made_from.describe(job),
        },
    )


def executes(benchmark: dict) -> bool:
    return benchmark.get("unsafe_code", False)


def open_harness(manifest: Path, benchmarks: dict) -> str:
    """Restrict the Hugging Face libraries to the downloaded data; return lm-eval's version."""
    content = files.read_json(manifest)
    installed, tasks = provenance.version("lm_eval"), [benchmark["task"] for benchmark in benchmarks.values()]
    if content["lm_eval"] != installed or set(tasks) - set(content["requested"]):
        raise JobError(
            f"{manifest}: expected {', '.join(tasks)} of lm-eval {installed}, found "
            f"{', '.join(content['requested'])} of lm-eval {content['lm_eval']}. Delete it and run again."
        )
    download_harness.use_cache(manifest.parent / content["folder"], offline=True)
    return installed


def run(name: str, benchmark: dict, model, tokenizer, manager, params: dict) -> dict:
    """Return the harness's results for one benchmark; if memory runs out, restart it with half the batch size.

    With `unsafe_code`, return only the answers, as `samples`: programs.score scores them.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    batch_size, unsafe = params["batch_size"], executes(benchmark)
    while True:
        try:
            # In bf16, log-likelihoods around −40 are rounded to steps of 1/4, and the first of equal choices would win.
            language_model = HFLM(model, tokenizer=tokenizer, batch_size=batch_size, softmax_dtype="float32")
            return simple_evaluate(
                language_model,
                tasks=[benchmark["task"]],
                num_fewshot=benchmark["shots"],
                limit=params["limit"],
                task_manager=manager,
                log_samples=unsafe,
                predict_only=unsafe,
                confirm_run_unsafe_code=unsafe,
            )
        except RuntimeError as problem:
            if not should_reduce_batch_size(problem):
                raise
            if batch_size == 1:
                raise JobError(
                    f"benchmark {name}: a single sequence does not fit into memory ({problem}). Use a larger GPU, "
                    "fewer shots, or precision bf16."
                ) from problem
        batch_size //= 2
        clear_device_cache(garbage_collection=True)
        print(f"{name}: out of memory, continuing with batches of {batch_size}", flush=True)


def result(name: str, benchmark: dict, found: dict) -> dict:
    """Extract a benchmark's metric from the harness's results."""
    task, metric, values = benchmark["task"], benchmark["metric"], found["results"].get(benchmark["task"], {})
    keys = [key for key in values if key == metric or key.startswith(f"{metric},")]
    if len(keys) != 1:
        known = [key for key in values if "," in key and "_stderr," not in key]
        raise JobError(
            f"benchmark {name}: metric {metric!r} is {'ambiguous' if keys else 'unknown'} for {task}; "
            f"it has {', '.join(known) or 'no result of its own: specify one of its tasks'}."
        )
    # A group has no number of shots, and a task that specifies 0 always uses 0.
    shots = {found["n-shot"][part] for part in found["configs"]}
    if shots != {benchmark["shots"]}:
        raise JobError(
            f"benchmark {name}: {task} ran with {', '.join(map(str, sorted(shots)))} shots instead of "
            f"{benchmark['shots']}: the task sets them itself. Use that number in the config."
        )
    kind, _, chosen = keys[0].partition(",")
    error = values[f"{kind}_stderr,{chosen}"]
    return {
        "value": float(values[keys[0]]),
        "stderr": None if error == "N/A" else float(error),
        "n_items": values["sample_len"],
        "task": task,
        "task_version": found["versions"][task],
        "shots": benchmark["shots"],
        "metric": keys[0],
    } | {key: found[key] for key in ("isolation",) if key in found}


if __name__ == "__main__":
    main()
