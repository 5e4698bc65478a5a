"""The columns of the run table: type and meaning. None of the values is a percentage."""

TEXT, WHOLE, NUMBER, FLAG = "string", "int64", "double", "bool"  # Arrow's names

# The benchmark of table columns that show the cost of training; their metrics are columns of the run table.
TRAINING, OF_TRAINING = "training", ("seconds", "device_seconds", "peak_memory_bytes", "trainable_parameters")
LOGARITHMIC = 5  # ratio of largest to smallest cost above which an axis is logarithmic

COLUMNS: dict[str, tuple[str, str]] = {
    "task": (TEXT, "glue, math, subject or control"),
    "dataset": (TEXT, "what was trained on"),
    "method": (TEXT, "entry of `methods` in the config"),
    "variant": (TEXT, "of the method"),
    "seed": (WHOLE, "of the training"),
    "benchmark": (TEXT, "what was evaluated on"),
    "selection": (TEXT, "which checkpoint was evaluated"),
    "metric": (TEXT, "what was measured"),
    "value": (NUMBER, "of the metric, a fraction where it is a rate"),
    "stderr": (NUMBER, "standard error over the items of this run"),
    "n_items": (WHOLE, "number of items evaluated"),
    "status": (TEXT, "ok, diverged, failed, missing or outdated"),
    "error": (TEXT, "why there is no value"),
    "preset": (TEXT, "name of the hyper-parameters"),
    "method_version": (WHOLE, "of the method in the config"),
    "task_version": (WHOLE, "of the task in the config"),
    "step": (WHOLE, "of the evaluated checkpoint"),
    "steps": (WHOLE, "optimiser steps of the training"),
    "trainable_parameters": (WHOLE, "adapter and head"),
    "adapter_parameters": (WHOLE, "of the adapter"),
    "total_parameters": (WHOLE, "of the model"),
    "adapter_bytes": (WHOLE, "size of the stored weights"),
    "seconds": (NUMBER, "wall time of the training"),
    "device_seconds": (NUMBER, "of the training, its share of each GPU"),
    "eval_seconds": (NUMBER, "wall time of the evaluation"),
    "peak_memory_bytes": (WHOLE, "of the training"),
    "device": (TEXT, "GPU or CPU of the training"),
    "processes": (WHOLE, "of the training, one per GPU"),
    "runs_per_gpu": (WHOLE, "runs that shared the GPU"),
    "micro_batch": (WHOLE, "rows that a device processes at a time"),
    "gradient_checkpointing": (FLAG, "whether activations were recomputed"),
    "attempts": (WHOLE, "jobs that the training took"),
    "backend": (TEXT, "that generated the answers"),
    "serve": (TEXT, "whether the weights were merged for generation"),
    "model": (TEXT, "base model"),
    "model_revision": (TEXT, "its commit on the Hub"),
    "model_sha256": (TEXT, "of its files"),
    "data_sha256": (TEXT, "of the training data"),
    "commit": (TEXT, "of the code"),
    "dirty": (FLAG, "whether the code had changes beyond the commit"),
    "versions": (TEXT, "of the libraries"),
    "started": (TEXT, "start of the training, UTC"),
    "finished": (TEXT, "end of the training, UTC"),
}
