"""Count the trained parameters of every run of the config and write them next to the paper's to docs/config/methods.md.

The models are built on the meta device, without memory, from their real configs in tests/data/models:
`python tests/parameters.py` rewrites the page.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from benchmarks import tables
from hra_workflow import tasks
from hra_workflow.core import grid
from hra_workflow.models import adapters, classifier
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from support import paper_config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/config/methods.md"
MODELS = {  # → file in tests/data/models
    "deberta-v3-base": "deberta-v3-base",
    "llama2-7b": "llama2-7b",
    "llama-3.2-3b": "llama-3.2-3b",
    "stable-diffusion-v1-5": "stable-diffusion-v1-5-unet",
    "stable-diffusion-v1-5-pruned": "stable-diffusion-v1-5-unet",
}
TABLES = {"glue": "glue", "math": "math", "compute": "math", "subject": "subject", "control": "control"}  # → task
LLAMA_WEIGHTS = 6_738_415_616  # the paper reports percentages of this number, with two decimals
LLAMA_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

Layers = Callable[..., list[tuple[int, int]]]  # names of targets → inputs and outputs of each layer


def rotations(inputs: int, block: int, factors: int = 1) -> int:
    """Count the free parameters of orthogonal blocks: the entries above the diagonal of a skew-symmetric matrix."""
    return factors * inputs * (block - 1) // 2


def boft_on_sd21(layers: Layers) -> int:
    """Count BOFT's parameters for Stable Diffusion 2.1, whose text encoder is 1024 wide instead of 768."""
    wider = [(1024 if n == 768 else n, out) for n, out in layers("to_q", "to_k", "to_v")]
    return sum(rotations(n, n // 8, 4) + 2 * out for n, out in wider)


COPIED = (
    "Copied from BOFT's paper, whose numbers fit b(b − 1)/2 free entries per block and factor "
    "plus two values per output"
)
BLOCKS = "PEFT stores full b × b blocks and one scale per output"
WHOLE = (
    "OFT's code stores full blocks of (d/4)² entries; PEFT stores only the free entries above the diagonal, "
    "for the same rotations"
)
SEVEN = "The published number is for r = 7; here r = 8, as in the official script"
LLAMA = (
    "The published percentage fits b(b − 1)/2 free entries per block in all seven linear layers; "
    "here OFT and BOFT use the layers of HRA and LoRA, q_proj and v_proj"
)
# (table, run) → reason for the difference, and the formula that gives the published number, where known.
REASONS: dict[tuple[str, str], tuple[str, Callable[[Layers], int] | None]] = {
    ("glue", "adalora/r8"): (
        "All ranks in training, 12 per layer; the paper counts those left after pruning, 8 per layer on average",
        None,
    ),
    ("glue", "oft/b16"): (
        f"{COPIED}; PEFT's OFT has no such per-output values",
        lambda layers: sum(rotations(n, 16) + 2 * out for n, out in layers()),
    ),
    ("glue", "boft/m2b8"): (
        f"{COPIED}. {BLOCKS}",
        lambda layers: sum(rotations(n, 8, 2) + 2 * out for n, out in layers()),
    ),
    ("math", "boft/m2b8"): (
        f"{LLAMA}. {BLOCKS}",
        lambda layers: sum(rotations(n, 8, 2) for n, _ in layers(*LLAMA_LINEAR)),
    ),
    **{
        (table, "oft/b16"): (LLAMA, lambda layers: sum(rotations(n, 16) for n, _ in layers(*LLAMA_LINEAR)))
        for table in ("math", "compute")
    },
    **{
        (table, f"oft/{variant}"): (WHOLE, lambda layers: sum(n * n // 4 for n, _ in layers()))
        for table in ("subject", "control")
        for variant in ("r4", "coft-r4")
    },
    **{
        ("subject", f"hra/r8{penalty}"): (SEVEN, lambda layers: sum(7 * n for n, _ in layers()))
        for penalty in ("", "-lambda1e-3", "-inf")
    },
    ("control", "base/pretrained"): (
        "The paper's DreamBooth row counts all weights of the UNet but reports the scores of the unmodified base model",
        None,
    ),
    ("control", "controlnet/full"): ("Printed to one decimal, 361.3", None),
    ("control", "boft/m4r8"): (
        f"{COPIED}, on q, k and v of Stable Diffusion 2.1; here Stable Diffusion 1.5 and HRA's layers. {BLOCKS}",
        boft_on_sd21,
    ),
}


@dataclass
class Row:
    table: str
    run: str
    built: int
    printed: str | None  # in the paper: millions, or percent for LLaMA
    explained: int | None = None  # the published number, from the formula in REASONS

    @property
    def reason(self) -> str:
        return REASONS.get((self.table, self.run), ("", None))[0]

    def is_printed_for(self, count: int) -> bool:
        """Return whether the paper's number is the count, rounded or truncated to the printed decimals."""
        found = 100 * count / LLAMA_WEIGHTS if self.percent else count / 1e6
        unit = 10.0 ** -len(self.printed.partition(".")[2])
        return abs(found - float(self.printed)) < unit

    @property
    def percent(self) -> bool:
        return architecture(TABLES[self.table]) == "causal_lm"


def architecture(task: str) -> str:
    return tasks.classes()[task].architecture


def printed(table: str) -> dict[str, str]:
    """Read the paper's number of parameters per run, as printed."""
    with (ROOT / f"config/published/{table}.csv").open(newline="") as stream:
        rows = {row["run"]: row["params_M"] for row in csv.DictReader(stream) if row["run"] and row["params_M"]}
    if architecture(TABLES[table]) != "causal_lm":
        return rows
    # The published tables give millions, which are exact only to the two decimals of the percentage.
    return {run: f"{float(millions) * 1e8 / LLAMA_WEIGHTS:.2f}" for run, millions in rows.items()}


def base_model(task: str, model: str, method: dict):
    """Build a task's model before adapter insertion, on the meta device."""
    import diffusers
    import transformers

    config = json.loads((ROOT / f"tests/data/models/{MODELS[model]}.json").read_text())
    with torch.device("meta"):
        if architecture(task) in ("unet", "controlled"):
            unet = diffusers.UNet2DConditionModel.from_config(config).requires_grad_(False)
            return control_model.ready(unet, method, 8) if architecture(task) == "controlled" else unet
        config = transformers.AutoConfig.for_model(**config)
        if architecture(task) == "classifier":
            return transformers.AutoModelForSequenceClassification.from_config(config)
        return transformers.AutoModelForCausalLM.from_config(config)


def count(task: str, model, method: dict, head: list[str]) -> int:
    """Count the adapter parameters of a run as its record does; a base model has none."""
    from peft.tuners.boft.layer import BOFTLayer

    controlled = architecture(task) == "controlled"
    if controlled:
        head = control_model.head(method)
    # BOFT's permutations need values, which the meta device does not have.
    with (
        torch.device("meta"),
        mock.patch.object(BOFTLayer, "block_butterfly_perm", lambda self, n, *_: torch.empty(n)),
        mock.patch.object(BOFTLayer, "perm2mat", lambda self, indices: torch.empty(len(indices), len(indices))),
    ):
        adapted = adapters.insert(model, method, head)
    if adapted is None:
        adapters.select_trainable(model, method, head)
        adapted = model
    counted = control_model.count(adapted, method) if controlled else adapters.count(adapted, head)
    return counted["adapter_parameters"]


def rows() -> list[Row]:
    """List every run of the grid and every run with a published number, table by table."""
    config, counts, layers, found = paper_config(), {}, {}, []
    for table, task in TABLES.items():
        entry, published = config["tasks"][task], printed(table)
        model = config["models"][entry["model"]]
        chosen = entry["compute"]["runs"] if table == "compute" else [*grid.run_names(config, task), *published]
        for run in dict.fromkeys(chosen):
            method = grid.method(config, task, *run.split("/"))
            if method["kind"] == "reference":
                continue
            if "init_lora_weights" in (method["peft"] or {}):  # PiSSA's decomposition counts nothing
                method["peft"] = method["peft"] | {"init_lora_weights": True}
            key = json.dumps([task, method["kind"], method["peft"], method["targets"]])
            if key not in counts:
                base = base_model(task, entry["model"], method)
                head = classifier.head_of(base) if architecture(task) == "classifier" else []
                counts[key] = count(task, base, method, head)
            row = Row(table, run, counts[key], published.get(run))
            if formula := REASONS.get((table, run), ("", None))[1]:
                if (task, method["kind"]) not in layers:
                    base = base_model(task, entry["model"], method)
                    layers[task, method["kind"]] = layers_of(base, model["targets"]["paper"])
                row.explained = formula(layers[task, method["kind"]])
            found.append(row)
    return found


def layers_of(model, targets: list[str]) -> Layers:
    def layers(*names: str) -> list[tuple[int, int]]:
        ends = tuple(f".{name}" for name in names or targets)
        return [
            (layer.in_features, layer.out_features)
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear) and name.endswith(ends) and hint_encoder.NAME not in name
        ]

    return layers


def table(found: list[Row]) -> list[str]:
    """Return the lines of the table; runs with identical entries share one."""
    lines: dict[tuple, list[str]] = {}
    for row in (one for one in found if one.printed):
        percentage = f" ({100 * row.built / LLAMA_WEIGHTS:.2f} %)" if row.percent else ""
        paper = f"{row.printed} {'%' if row.percent else 'M'}" if row.printed else "–"
        reason = row.reason and f"{row.reason}" + (f" ({row.explained:,})" if row.explained else "")
        lines.setdefault((row.table, f"{row.built:,}{percentage}", paper, reason), []).append(f"`{row.run}`")
    return [
        "| table | run | count here | paper | reason for the difference |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {', '.join(runs)} | {built} | {paper} | {reason or '–'} |"
            for (name, built, paper, reason), runs in lines.items()
        ),
    ]


if __name__ == "__main__":
    tables.put(PAGE, "parameters", table(rows()))
