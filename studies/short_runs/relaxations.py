"""Forms of W' = diag(1 + δ) H_L W H_R on short runs: python -m studies.short_runs.relaxations SET.

The trial in which relaxations of the two-sided form had to show that they are worth a study: a coefficient per
reflection, ETHER+'s pairs, scales of the inputs, other numbers of reflections per side. A form without scales of the
inputs is exactly a DoRA, or a LoRA if it has no magnitudes, since it differs from W in a low rank and in the lengths of
rows; W diag(1 + γ) is neither. Dense prototypes for small layers; of these forms, `hra` has only plain HRA.

    llama [--forms two-sided] [--rates 5e-3 1e-2] [--seeds 1 2 3]    the demo's word problems
    sst2 MODEL DATA ...        SST-2, with all-MiniLM-L6-v2 in MODEL and the folder glue_sst2 in DATA
    page                       the table of README.md from results/relaxations.csv

Rows are appended to results/relaxations.csv, and runs that it contains are left out.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import peft
import torch
from torch import nn
from torch.nn.utils import parametrize

from benchmarks.tables import put
from hra_workflow.report.markdown_text import table
from studies.short_runs import small_runs

TABLE = small_runs.RESULTS / "relaxations.csv"
START = 1 / 16  # standard deviation of the entries of the starting columns
RATES = [5e-3, 1e-2]  # of all of a form's parameters
TRIAL = 1000  # the seed of the runs that choose a rate
EPOCHS = 1  # instead of the studies' two
KEY = ("set", "form", "rate", "seed")


class Form(NamedTuple):
    """A parametrisation of W'. left, right: reflections on the side of the outputs and of the inputs."""

    left: int
    right: int
    magnitudes: bool = False  # diag(1 + δ) on the left
    inputs: bool = False  # diag(1 + γ) on the right
    coefficients: bool = False  # I - β u uᵀ / ‖u‖², β = 2 at the start
    pairs: bool = False  # ETHER+ (arXiv 2405.20271): I - u uᵀ / ‖u‖² + v vᵀ / ‖v‖², of columns 2 i and 2 i + 1


FORMS = {
    "HRA": Form(0, 8),
    "HRA, magnitudes": Form(0, 8, magnitudes=True),
    "two-sided": Form(4, 4),
    "two-sided, magnitudes": Form(4, 4, magnitudes=True),
    "two-sided, magnitudes, coefficients": Form(4, 4, magnitudes=True, coefficients=True),
    "two-sided, magnitudes, ETHER+ pairs": Form(4, 4, magnitudes=True, pairs=True),
    "two-sided, magnitudes, input scales": Form(4, 4, magnitudes=True, inputs=True),
    "HRA, magnitudes, input scales": Form(0, 8, magnitudes=True, inputs=True),
    "2 + 6, magnitudes": Form(2, 6, magnitudes=True),
    "6 + 2, magnitudes": Form(6, 2, magnitudes=True),
    "8 + 0, magnitudes": Form(8, 0, magnitudes=True),
    "4 + 2, magnitudes, input scales": Form(4, 2, magnitudes=True, inputs=True),
}
PEFT_FORMS = {"LoRA, r = 4": False, "DoRA, r = 4": True}  # use_dora


class Side(nn.Module):
    """A product of r factors in dimension n, I - U T Uᵀ for the columns of `u` (n, r) at length 1; I at the start.

    T is (I + D S)⁻¹ D: D has the factors' coefficients, and S the products of columns of different factors, above the
    diagonal (the WY form of products of reflections, here also with coefficients other than 2 and for sums of two).
    """

    def __init__(self, n: int, r: int, form: Form):
        super().__init__()
        bound = START * 3**0.5
        self.u = nn.Parameter(torch.empty(n, r // 2).uniform_(-bound, bound).repeat_interleave(2, 1))
        signs = torch.tensor([1.0, -1.0]).repeat(r // 2)
        self.coefficients = nn.Parameter(signs if form.pairs else torch.full((r,), 2.0), form.coefficients)
        factor = torch.arange(r) // 2 if form.pairs else torch.arange(r)
        self.register_buffer("later", (factor[:, None] < factor).float())

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return U T and U, both (n, r)."""
        u = self.u / self.u.norm(dim=0)
        coefficients = torch.diag(self.coefficients)
        later = coefficients @ (self.later * (u.T @ u))
        t = torch.linalg.solve_triangular(torch.eye(len(later)).to(u) + later, coefficients, upper=True)
        return u @ t, u


class Weight(nn.Module):
    """W' of a layer, given W (out, n), as a parametrization of torch."""

    def __init__(self, weight: torch.Tensor, form: Form):
        super().__init__()
        out, n = weight.shape
        self.left = Side(out, form.left, form) if form.left else None
        self.right = Side(n, form.right, form) if form.right else None
        self.magnitudes = nn.Parameter(torch.zeros(out)) if form.magnitudes else None
        self.inputs = nn.Parameter(torch.zeros(n)) if form.inputs else None

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            if self.right:
                first, second = self.right.factors()
                weight = weight - (weight @ first) @ second.T
            if self.left:
                first, second = self.left.factors()
                weight = weight - first @ (second.T @ weight)
            if self.magnitudes is not None:
                weight = weight * (1 + self.magnitudes)[:, None]
            return weight if self.inputs is None else weight * (1 + self.inputs)


def adapt(task: small_runs.Task, name: str):
    """Return the function that inserts a form, or PEFT's LoRA or DoRA, into the task's layers."""

    def insert(model: nn.Module, head: list[str]) -> nn.Module:
        if name in PEFT_FORMS:
            options = {"target_modules": task.targets, "modules_to_save": head or None}
            return peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, use_dora=PEFT_FORMS[name], **options))
        model.requires_grad_(False)
        for path, layer in list(model.named_modules()):
            if path.endswith(tuple(f".{target}" for target in task.targets)):
                parametrize.register_parametrization(layer, "weight", Weight(layer.weight, FORMS[name]))
        for part in head:
            next(module for path, module in model.named_modules() if path.endswith(part)).requires_grad_(True)
        return model

    return insert


def page_table() -> list[str]:
    """Return the table of README.md: the trial of every rate, and other seeds of the rates that have them."""
    rows = pd.read_csv(TABLE)
    rows = rows[rows["set"] == "word problems"]
    lines = [["form", "parameters", "trials: rate: loss", "rate", "seeds 1, 2, 3", "mean"]]
    for form in [*FORMS, *PEFT_FORMS]:
        of_form = rows[rows["form"] == form].sort_values(["rate", "seed"])
        if of_form.empty:
            continue
        tried = of_form[of_form["seed"] == TRIAL]
        shown = [f"{rate:g}: {loss:.3f}" for rate, loss in zip(tried["rate"], tried["loss"], strict=True)]
        parameters, trials = f"{of_form['parameters'].iloc[0]:,}", ", ".join(shown) or "–"
        repeated = [(f"{rate:g}", one["loss"]) for rate, one in of_form[of_form["seed"] != TRIAL].groupby("rate")]
        for rate, found in repeated or [("–", pd.Series(dtype=float))]:
            losses = ", ".join(f"{loss:.3f}" for loss in found) or "–"
            lines.append([form, parameters, trials, rate, losses, f"{found.mean():.3f}" if len(found) else "–"])
            form = parameters = trials = ""
    return table(lines, ["left", "right", "left", "right", "left", "right"]).splitlines()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["llama", "sst2", "page"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--forms", nargs="+", default=[*FORMS, *PEFT_FORMS])
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[TRIAL])
    given = parser.parse_args(arguments)
    if given.set == "page":
        return put(small_runs.PAGE, "relaxations", page_table())
    torch.set_num_threads(1)
    task = small_runs.word_problems() if given.set == "llama" else small_runs.sst2(*given.folders)
    task.settings["epochs"] = EPOCHS
    for seed in given.seeds:
        for rate in given.rates:
            for form in given.forms:
                named = {"set": task.name, "form": form, "rate": f"{rate:g}", "seed": seed}
                if tuple(map(str, named.values())) not in small_runs.done(TABLE, KEY):
                    small_runs.append(TABLE, named | small_runs.train(task, adapt(task, form), rate, seed))


if __name__ == "__main__":
    main(sys.argv[1:])
