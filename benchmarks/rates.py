"""The best learning rate of HRA by rank, for the scale of its start: python -m benchmarks.rates SET [OPTIONS].

With Adam, H depends only on the directions of its columns: a start whose entries have the standard deviation s and the
learning rate η give the same H in every step as c s and c η. η / s is the angle in radians by which a step in which all
entries of a column move by η, orthogonally to it, turns its reflection, whatever n and r. Runs start with s = 1/16;
PEFT's start, s = √(2/(3r)), with the rate η √(32 · 16 / (3 r)) is the same run.

    llama [--ranks 2 8] [--rates 1e-3 2e-3] [--seeds 1000] [--methods hra lora]    the demo's word problems
    llama-wide                 the same for a Llama of twice the width, which is trained first, in half an hour
    sst2 MODEL DATA            SST-2, with all-MiniLM-L6-v2 in MODEL and the folder glue_sst2 in DATA
    plot                       docs/images/rates.png from results/rates.csv

Rows are appended to benchmarks/results/rates.csv, and runs that it contains are left out.
"""

import argparse
import sys
from pathlib import Path

import peft
import torch

import hra
from benchmarks import small_runs

TABLE = small_runs.RESULTS / "rates.csv"
WIDE = small_runs.ROOT / "resources/pretrained/word-problems-llama-256"
START = 1 / 16  # standard deviation of the entries of the starting columns
RANKS = [2, 4, 8, 16, 32, 64]
RATES = [1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2]
EPOCHS = 1  # instead of the studies' two, for twice the runs
KEY = ("set", "method", "r", "rate", "seed")


def pretrain_wide() -> Path:
    """Train the wide Llama as rules/pretrain.smk trains the demo's, on half its rows, unless it exists."""
    if not (WIDE / "model.safetensors").exists():
        sys.path.append(str(small_runs.ROOT / "workflow/scripts"))
        import pretrain_word_problems

        model = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8}
        training = {"num_train_epochs": 1, "per_device_train_batch_size": 32, "learning_rate": 1.5e-3}
        params = {
            "rows": 60000,
            "seed": 0,
            "vocabulary": 512,
            "model": model | {"max_position_embeddings": 256},
            "training": training | {"lr_scheduler_type": "cosine", "warmup_steps": 0.05, "disable_tqdm": True},
        }
        pretrain_word_problems.main({"params": params, "output": {"weights": WIDE / "model.safetensors"}})
    return WIDE


def adapt(task: small_runs.Task, method: str, r: int):
    """Return the function that inserts adapters: `hra` with the start of this study, or `lora` with α = 2 r."""

    def insert(model, head: list[str]):
        options = {"r": r, "target_modules": task.targets, "modules_to_save": head or None}
        if method == "lora":
            return peft.get_peft_model(model, peft.LoraConfig(lora_alpha=2 * r, **options))
        hra.install()
        adapted = peft.get_peft_model(model, peft.HRAConfig(**options))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "hra_u" in name:
                    parameter.mul_(START / of_peft(r))
        return adapted

    return insert


def of_peft(r: int) -> float:
    """Return the standard deviation of the entries of PEFT's start."""
    return (2 / (3 * r)) ** 0.5


def run(task: small_runs.Task, method: str, ranks: list[int], rates: list[float], seeds: list[int]) -> None:
    """Append the missing runs of a set to the table."""
    for seed in seeds:
        for rate in rates:
            for r in ranks:
                named = {"set": task.name, "method": method, "r": r, "rate": f"{rate:g}", "seed": seed}
                if tuple(map(str, named.values())) not in small_runs.done(TABLE, KEY):
                    found = small_runs.train(task, adapt(task, method, r), rate, seed)
                    small_runs.append(TABLE, named | found)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["llama", "llama-wide", "sst2", "plot"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--methods", nargs="+", default=["hra"], choices=["hra", "lora"])
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1000])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.set == "sst2":
        task = small_runs.sst2(*given.folders)
    elif given.set == "llama":
        task = small_runs.word_problems()
    else:
        task = small_runs.word_problems(pretrain_wide(), name="word problems, width 256")
    task.settings["epochs"] = EPOCHS
    for method in given.methods:
        run(task, method, given.ranks, given.rates, given.seeds)


if __name__ == "__main__":
    main(sys.argv[1:])
