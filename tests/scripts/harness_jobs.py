"""Jobs of the harness on custom tasks of the alphabet."""

from pathlib import Path

from support import method

TASKS = "tests/data/harness"
LETTERS = ["</s>", "<pad>", "\n", *map(chr, range(32, 127))]
BENCHMARKS = {
    "Lower": {"task": "alphabet_lower", "shots": 2, "metric": "acc"},
    "Both": {"task": "alphabet", "shots": 1, "metric": "acc"},
    "Write": {"task": "alphabet_write", "shots": 0, "metric": "exact_match,whole"},
    "Programs": {"task": "alphabet_programs", "shots": 0, "metric": "pass_at_1", "unsafe_code": True},
}


METHOD = method("hra", peft={"r": 2}, targets=["lm_head"])


def evaluate_job(folder: Path, benchmarks: dict = BENCHMARKS, **params) -> dict:
    return {
        "rule": "evaluate_harness",
        "input": {
            "record": str(folder / "run/train.json"),
            "last": str(folder / "run/last/adapter_model.safetensors"),
            "model": str(folder / "model.manifest.json"),
            "harness": str(folder / "harness.manifest.json"),
        },
        "output": {
            "metrics": str(folder / "run/retention.json"),
            "programs": str(folder / "run/retention_programs.jsonl.gz"),
        },
        "params": {
            "benchmarks": benchmarks,
            "method": METHOD,
            "batch_size": 4,
            "limit": None,
            "include_path": TASKS,
            "precision": "float32",
            "device": "cpu",
            "task_version": 1,
            "scratch": str(folder / "scratch"),
        }
        | params,
        "wildcards": {"task": "math", "dataset": "d", "method": "hra", "variant": "r2", "seed": "3"},
        "resources": {"gpu": 0},
    }
