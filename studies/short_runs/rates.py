"""The best learning rate of HRA by rank, for the scale of its start: python -m studies.short_runs.rates SET [OPTIONS].

The runs of the method `hra` start with entries of the standard deviation 1/16 at every r. With Adam, H depends only on
the directions of its columns: a start with the standard deviation s and the learning rate η give the same H in every
step as c s and c η (docs/mathematics.md), except for rounding, Adam's ε, weight decay and the clipping of gradients. So
the rates of other starts are derived: with `init_scale=1/128`, s = r/128, a run stands for one at η r/8; with PEFT's,
s = √(2/(3r)), at 16 s η. The few runs of "hra, init_scale" and "hra, PEFT's start" were trained with these starts.

    llama [--ranks 2 8] [--rates 1e-3 2e-3] [--seeds 1000] [--methods hra lora]    the demo's word problems
    llama-64                   the same for a Llama of half the width, which is trained first, in a few minutes
    sst2 MODEL DATA            SST-2, with all-MiniLM-L6-v2 in MODEL and the folder glue_sst2 in DATA
    page                       the table of README.md and results/rates.png from results/rates.csv

Rows are appended to results/rates.csv, and runs that it contains are left out.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import peft
import torch

import hra
from benchmarks import docs_images
from benchmarks.tables import put
from hra_workflow.report.markdown_text import table
from studies.short_runs import small_runs

TABLE, IMAGE = (small_runs.RESULTS / name for name in ("rates.csv", "rates.png"))
MADE_FROM = [Path(__file__), docs_images.STYLE, TABLE]
NARROW = small_runs.ROOT / "resources/pretrained/word-problems-llama-64"
START = 1 / 16  # standard deviation of the entries of the starting columns
SEED = 1000
RANKS = [2, 4, 8, 16, 32, 64]
RATES = [1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2]
SETS = "word problems", "word problems, width 64", "SST-2"
EPOCHS = 1  # instead of the studies' two, for twice the runs
KEY = ("set", "method", "r", "rate", "seed")


def pretrain_narrow() -> Path:
    """Train a Llama of half the width as studies/demo_models trains the demo's, for half as long, unless it exists."""
    if not (NARROW / "model.safetensors").exists():
        from studies.demo_models import pretrain_word_problems

        model = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 2}
        training = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 4e-3}
        params = {
            "rows": 60000,
            "seed": 0,
            "vocabulary": 512,
            "model": model | {"max_position_embeddings": 256},
            "training": training | {"lr_scheduler_type": "cosine", "warmup_steps": 0.05, "disable_tqdm": True},
        }
        pretrain_word_problems.main({"params": params, "output": {"weights": NARROW / "model.safetensors"}})
    return NARROW


def adapt(task: small_runs.Task, method: str, r: int):
    """Return the function that inserts adapters: HRA with a start of STARTS, or `lora` with α = 2 r."""

    def insert(model, head: list[str]):
        options = {"r": r, "target_modules": task.targets, "modules_to_save": head or None}
        if method == "lora":
            return peft.get_peft_model(model, peft.LoraConfig(lora_alpha=2 * r, **options))
        hra.install()
        return peft.get_peft_model(model, hra.HRAConfig(init_scale=STARTS[method](r) / r, **options))

    return insert


def of_study(r: int) -> float:
    """Return the standard deviation of the entries at the start of the runs of this study."""
    return START


def of_peft(r: int) -> float:
    """Return the standard deviation of the entries of PEFT's start."""
    return (2 / (3 * r)) ** 0.5


def of_scale(r: int) -> float:
    """Return the standard deviation of the entries with `init_scale=1/128`."""
    return r / 128


STARTS = {"hra": of_study, "hra, PEFT's start": of_peft, "hra, init_scale": of_scale}


def run(task: small_runs.Task, method: str, ranks: list[int], rates: list[float], seeds: list[int]) -> None:
    """Append the missing runs of a set to the table."""
    for seed in seeds:
        for rate in rates:
            for r in ranks:
                named = {"set": task.name, "method": method, "r": r, "rate": f"{rate:g}", "seed": seed}
                if tuple(map(str, named.values())) not in small_runs.done(TABLE, KEY):
                    found = small_runs.train(task, adapt(task, method, r), rate, seed)
                    small_runs.append(TABLE, named | found)


def losses(method: str = "hra", start: Callable[[int], float] = of_study) -> dict[str, pd.DataFrame]:
    """Return by set the held-out losses of the first seed: a row per rank and a column per rate.

    start: the rates of the method's runs are multiplied, per rank, to those that give the same H with this start.
    """
    rows = pd.read_csv(TABLE)
    rows = rows[(rows["method"] == method) & (rows["seed"] == SEED)]
    factors = rows["r"].map(start) / START
    rows["rate"] = [float(f"{rate:.6g}") for rate in rows["rate"] * factors]  # products that are equal up to rounding
    return {name: one.pivot_table(index="r", columns="rate", values="loss") for name, one in rows.groupby("set")}


def noise() -> float:
    """Return the standard deviation of the logarithm of the loss between seeds of the same set, rank and rate."""
    rows = pd.read_csv(TABLE)
    squares = rows.assign(log=np.log(rows["loss"])).groupby(list(KEY[:-1]))["log"].agg(["var", "count"])
    squares = squares[squares["count"] > 1]
    return float(np.sqrt(np.average(squares["var"], weights=squares["count"] - 1)))


def common(of_set: pd.DataFrame) -> tuple[float, float] | None:
    """Return the best of the rates that every rank has, and the worst rank's loss there relative to its best one."""
    worst = of_set.div(of_set.min(axis=1), axis=0).dropna(axis=1).max()
    return None if worst.empty else (float(worst.idxmin()), float(worst.min()))


def derivation_error() -> pd.Series:
    """Return the losses of the runs with other starts relative to the derived ones, by set, start, r and rate."""
    ratios = {}
    for method, start in STARTS.items():
        if method != "hra":
            for name, found in losses(method).items():
                ratios[name, method] = (found / losses(start=start)[name]).stack()
    return pd.concat(ratios).dropna()


def page_table() -> list[str]:
    """Return the table of docs/library.md: the best rates as trained and with `init_scale`, and the price of one."""

    def short(rate: float) -> str:
        return np.format_float_scientific(rate, trim="-", exp_digits=1)

    trained, derived = losses(), losses(start=of_scale)
    lines = [["", *SETS]]
    for r in RANKS:
        best = [(trained[name].loc[r], derived[name].loc[r]) if r in trained[name].index else () for name in SETS]
        cells = (" → ".join(short(one.idxmin()) for one in pair) or "–" for pair in best)
        lines.append([f"best rate that was tried, r = {r}", *cells])
    for title, found in (("σ = 1/16, trained", trained), ("init_scale, derived", derived)):
        best = [common(found[name]) for name in SETS]
        cells = (f"{100 * one[1] - 100:.0f} %, at {short(one[0])}" if one else "no common rate" for one in best)
        lines.append([f"one rate for all r, {title}: loss above the best", *cells])
    return table(lines, ["left"] + ["right"] * len(SETS)).splitlines()


def page() -> None:
    """Rewrite the table of README.md and the figure."""
    put(small_runs.PAGE, "rates", page_table())
    plot()


def plot() -> None:
    """Write results/rates.png: loss against rate, a line per rank, as trained and at the rates of `init_scale`."""
    import matplotlib.pyplot as plt

    from hra_workflow.report.plot_style import SETTINGS, SMALL, WIDTH, logarithmic

    plt.switch_backend("Agg")
    lora, checks = losses("lora"), losses("hra, init_scale")
    columns = {
        "as trained": (losses(), {}, "learning rate, at the start σ = 1/16 of all runs"),
        "derived for init_scale=1/128": (losses(start=of_scale), checks, "learning rate of the left times r / 8"),
    }
    with plt.rc_context(SETTINGS):
        size = 2 * WIDTH, 3.4 * len(SETS)
        figure, axes = plt.subplots(len(SETS), 2, figsize=size, layout="constrained", sharey="row")
        shown = {}
        for name, of_row in zip(SETS, axes, strict=True):
            for axis, (title, (of_column, trained, _)) in zip(of_row, columns.items(), strict=True):
                for r, row in of_column[name].iterrows():
                    row, colour = row.dropna(), plt.cm.viridis(RANKS.index(r) / len(RANKS))
                    (shown[f"HRA, r = {r}"],) = axis.plot(row.index, row, "o-", color=colour)
                for r, row in trained.get(name, pd.DataFrame()).iterrows():
                    colour = plt.cm.viridis(RANKS.index(r) / len(RANKS))
                    row = row.dropna()
                    (mark,) = axis.plot(row.index, row, "x", color=colour, markersize=10, markeredgewidth=2)
                    shown["trained with init_scale"] = mark
                for r, row in lora.get(name, pd.DataFrame()).iterrows():
                    row, dash = row.dropna(), {4: ":", 8: "--", 32: "-."}[r]
                    (shown[f"LoRA, r = {r}"],) = axis.plot(row.index, row, dash, color="#888888")
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
                axis.yaxis.set_minor_formatter(lambda value, _: f"{value:.3g}")
                logarithmic(axis)
                axis.tick_params(which="both", labelsize=SMALL)
                axis.set_title(f"{name}: {title}")
            of_row[0].set_ylabel("held-out loss")
        for axis, (_, _, label) in zip(axes[-1], columns.values(), strict=True):
            axis.set_xlabel(label)
        labels = sorted(shown, key=lambda label: (label.split(",")[0], int(label.split()[-1]) if "=" in label else 0))
        figure.legend([shown[one] for one in labels], labels, loc="outside lower center", ncols=5, fontsize=SMALL)
        figure.savefig(IMAGE, dpi=130)
    docs_images.stamp(IMAGE, MADE_FROM)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["llama", "llama-64", "sst2", "page"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--methods", nargs="+", default=["hra"], choices=[*STARTS, "lora"])
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[SEED])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.set == "page":
        return page()
    if given.set == "sst2":
        task = small_runs.sst2(*given.folders)
    elif given.set == "llama":
        task = small_runs.word_problems()
    else:
        task = small_runs.word_problems(pretrain_narrow(), name="word problems, width 64")
    task.settings["epochs"] = EPOCHS
    for method in given.methods:
        run(task, method, given.ranks, given.rates, given.seeds)


if __name__ == "__main__":
    main(sys.argv[1:])
