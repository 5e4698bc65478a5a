"""The best learning rate of HRA by rank, for the scale of its start: python -m benchmarks.rates SET [OPTIONS].

With Adam, H depends only on the directions of its columns: a start whose entries have the standard deviation s and the
learning rate η give the same H in every step as c s and c η (docs/mathematics.md), except for rounding, Adam's ε and
the clipping of gradients. So one run with s = 1/16, as these have, stands for the run with any other start: with
PEFT's, s = √(2/(3r)), at the rate 16 s η, and with `init_scale=1/128`, s = r/128, at η r/8.

    llama [--ranks 2 8] [--rates 1e-3 2e-3] [--seeds 1000] [--methods hra lora]    the demo's word problems
    llama-64                   the same for a Llama of half the width, which is trained first, in a few minutes
    sst2 MODEL DATA            SST-2, with all-MiniLM-L6-v2 in MODEL and the folder glue_sst2 in DATA
    fit                        prints the best rates, their power of r and what a common rule costs
    page                       the table of docs/library.md and docs/images/rates.png from results/rates.csv

Rows are appended to benchmarks/results/rates.csv, and runs that it contains are left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import peft
import torch

import hra
from benchmarks import small_runs
from benchmarks.tables import put
from hra_workflow.report.markdown_text import table

TABLE = small_runs.RESULTS / "rates.csv"
NARROW = small_runs.ROOT / "resources/pretrained/word-problems-llama-64"
START = 1 / 16  # standard deviation of the entries of the starting columns
SEED = 1000
RANKS = [2, 4, 8, 16, 32, 64]
RATES = [1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2]
SETS = "word problems", "word problems, width 64", "SST-2"
EPOCHS = 1  # instead of the studies' two, for twice the runs
KEY = ("set", "method", "r", "rate", "seed")


def pretrain_narrow() -> Path:
    """Train a Llama of half the width as rules/pretrain.smk trains the demo's, for half as long, unless it exists."""
    if not (NARROW / "model.safetensors").exists():
        sys.path.append(str(small_runs.ROOT / "workflow/scripts"))
        import pretrain_word_problems

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
    """Return the function that inserts adapters: `hra` with the start of this study, or `lora` with α = 2 r."""

    def insert(model, head: list[str]):
        options = {"r": r, "target_modules": task.targets, "modules_to_save": head or None}
        if method == "lora":
            return peft.get_peft_model(model, peft.LoraConfig(lora_alpha=2 * r, **options))
        hra.install()
        return peft.get_peft_model(model, hra.HRAConfig(init_scale=START / r, **options))

    return insert


def of_peft(r: int) -> float:
    """Return the standard deviation of the entries of PEFT's start."""
    return (2 / (3 * r)) ** 0.5


def of_scale(r: int) -> float:
    """Return the standard deviation of the entries with `init_scale=1/128`."""
    return r / 128


def run(task: small_runs.Task, method: str, ranks: list[int], rates: list[float], seeds: list[int]) -> None:
    """Append the missing runs of a set to the table."""
    for seed in seeds:
        for rate in rates:
            for r in ranks:
                named = {"set": task.name, "method": method, "r": r, "rate": f"{rate:g}", "seed": seed}
                if tuple(map(str, named.values())) not in small_runs.done(TABLE, KEY):
                    found = small_runs.train(task, adapt(task, method, r), rate, seed)
                    small_runs.append(TABLE, named | found)


def losses(method: str = "hra") -> dict[str, pd.DataFrame]:
    """Return by set the held-out losses of the first seed: a row per rank and a column per rate."""
    rows = pd.read_csv(TABLE)
    rows = rows[(rows["method"] == method) & (rows["seed"] == SEED)]
    return {name: one.pivot_table(index="r", columns="rate", values="loss") for name, one in rows.groupby("set")}


def noise() -> pd.Series:
    """Return by set the standard deviation of log loss between seeds of the same rank and rate."""
    rows = pd.read_csv(TABLE)
    squares = rows.assign(log=np.log(rows["loss"])).groupby(["set", "method", "r", "rate"])["log"].agg(["var", "count"])
    squares = squares[squares["count"] > 1]
    squares["var"] *= squares["count"] - 1
    summed = squares.assign(count=squares["count"] - 1).groupby("set").sum()
    return (summed["var"] / summed["count"]) ** 0.5


def best(row: pd.Series) -> tuple[float, float]:
    """Return the best rate and its loss: the vertex of the parabola in log η and log loss around the best of a row."""
    row = row.dropna()
    place = int(row.argmin())
    if not 0 < place < len(row) - 1:
        return float(row.index[place]), float(row.iloc[place])
    x, y = np.log(row.index[place - 1 : place + 2]), np.log(row.iloc[place - 1 : place + 2])
    curve = np.polyfit(x, y, 2)
    vertex = -curve[1] / (2 * curve[0])
    return float(np.exp(vertex)), float(np.exp(np.polyval(curve, vertex)))


def regrets(of_set: pd.DataFrame, power: float) -> tuple[float, pd.Series]:
    """Return c and the losses by rank, divided by those of the best rates, for the rates η = c r^power.

    c has the lowest maximum over the ranks. Losses between measured rates are interpolated in the logarithms of both.
    Beyond the measured rates, the loss rises as between the last two, or is that of the last if it fell there.
    """

    def of(c: float) -> pd.Series:
        found = {}
        for r, row in of_set.iterrows():
            row = row.dropna()
            x, y, wanted = np.log(row.index.to_numpy()), np.log(row.to_numpy()), np.log(c * r**power)
            value = np.interp(wanted, x, y)
            if len(x) > 1:
                value += max(0, (y[0] - y[1]) / (x[1] - x[0])) * max(0, x[0] - wanted)
                value += max(0, (y[-1] - y[-2]) / (x[-1] - x[-2])) * max(0, wanted - x[-1])
            found[r] = np.exp(value) / min(best(row)[1], row.min())
        return pd.Series(found)

    every = of_set.index.to_numpy()[:, None] ** -power * of_set.columns.to_numpy()
    c = min(np.geomspace(every.min(), every.max(), 400), key=lambda c: of(c).max())
    return c, of(c)


def fit() -> None:
    """Print the best rate of each rank, their power of r, and what a common rule costs."""
    print("standard deviation of log loss between seeds:", noise().round(3).to_dict())
    for method in ("hra", "lora"):
        for name, of_set in losses(method).items():
            print(f"\n{name}, {method}\n{of_set.round(3).to_string(na_rep='')}")
            if len(of_set) < 3:
                continue
            rates = {r: best(row) for r, row in of_set.iterrows()}
            print("best:", ", ".join(f"r = {r}: {rate:.2g} ({loss:.3f})" for r, (rate, loss) in rates.items()))
            if method == "hra":
                scaled = (f"r = {r}: {rate * of_scale(r) / START:.2g}" for r, (rate, _) in rates.items())
                print("best with init_scale=1/128:", ", ".join(scaled))
            slope = np.polyfit(np.log([*rates]), np.log([rate for rate, _ in rates.values()]), 1)[0]
            print(f"best rate as a power of r: {slope:.2f}")
            for power in (0.5, 0, -0.5, -0.75, -1):
                c, cost = regrets(of_set, power)
                shown = ", ".join(f"{r}: {100 * (value - 1):.1f}" for r, value in cost.items())
                print(f"rate = {c:.2g} r^{power}: loss above each rank's best in %: {shown}")


POWERS = {0.5: "PEFT's start", 0: "entries of one size at every r", -1: "init_scale"}


def page_table() -> list[str]:
    """Return the table of docs/library.md: the best rates with `init_scale=1/128`, and what one rate costs by start."""
    found = losses()
    lines = [["", *(name for name in SETS)]]
    for r in RANKS:
        of_rank = [best(found[name].loc[r]) if r in found[name].index else None for name in SETS]
        cells = ("–" if one is None else f"{one[0] * of_scale(r) / START:.1e}".replace("e-0", "e-") for one in of_rank)
        lines.append([f"best rate, r = {r}", *cells])
    for power, start in POWERS.items():
        worst = (100 * (regrets(found[name], power)[1].max() - 1) for name in SETS)
        lines.append([f"one rate for all r, {start}: loss above the best", *(f"{one:.0f} %" for one in worst)])
    return table(lines, ["left"] + ["right"] * len(SETS)).splitlines()


def page() -> None:
    """Rewrite the table of docs/library.md and the figure."""
    put(small_runs.ROOT / "docs/library.md", "rates", page_table())
    plot()


def plot() -> None:
    """Write docs/images/rates.png: loss against rate, a line per rank, for `init_scale` and PEFT's start."""
    import matplotlib.pyplot as plt

    from benchmarks import docs_images
    from hra_workflow.report.plot_style import SETTINGS, SMALL, WIDTH, logarithmic

    plt.switch_backend("Agg")
    sets, lora = losses(), losses("lora")
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(
            len(sets), 2, figsize=(2 * WIDTH, 3.4 * len(sets)), layout="constrained", sharey="row", squeeze=False
        )
        shown = {}
        for name, of_row in zip([one for one in SETS if one in sets], axes, strict=True):
            for axis, of_start in zip(of_row, (of_scale, of_peft), strict=True):
                for r, row in sets[name].iterrows():
                    row, colour = row.dropna(), plt.cm.viridis(RANKS.index(r) / len(RANKS))
                    (line,) = axis.plot(row.index * of_start(r) / START, row, "o-", color=colour)
                    shown[f"HRA, r = {r}"] = line
                for r, row in lora.get(name, pd.DataFrame()).iterrows():
                    row, dash = row.dropna(), {4: ":", 8: "--", 32: "-."}[r]
                    (line,) = axis.plot(row.index, row, dash, color="#888888")
                    shown[f"LoRA, r = {r}"] = line
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
                axis.yaxis.set_minor_formatter(lambda value, _: f"{value:.3g}")
                logarithmic(axis)
                axis.tick_params(which="both", labelsize=SMALL)
            of_row[0].set(title=f"{name}: init_scale=1/128", ylabel="held-out loss")
            of_row[1].set_title(f"{name}: PEFT's start")
        for axis in axes[-1]:
            axis.set_xlabel("learning rate")
        labels = sorted(shown, key=lambda label: (label.split(",")[0], int(label.split()[-1])))
        figure.legend([shown[one] for one in labels], labels, loc="outside lower center", ncols=5, fontsize=SMALL)
        figure.savefig(docs_images.FOLDER / "rates.png", dpi=130)
    docs_images.renew("rates")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["llama", "llama-64", "sst2", "fit", "page"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--methods", nargs="+", default=["hra"], choices=["hra", "lora"])
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[SEED])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.set in ("fit", "page"):
        return {"fit": fit, "page": page}[given.set]()
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
