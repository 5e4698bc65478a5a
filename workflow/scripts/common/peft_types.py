"""The adapter types of the installed PEFT, and what a config can state of them.

Imported on login nodes. Importing PEFT imports torch, so names and arguments are parsed from its source files.
"""

import ast
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.machinery import PathFinder
from math import ceil
from pathlib import Path
from typing import NamedTuple

from common.core.errors import expect

# What PEFT's source does not tell: types that a run with targets, a single adapter and no further inputs cannot have.
SVD = "what it freezes is computed from singular vectors and not saved, and another machine may compute other ones"
UNSUPPORTED = {
    "adamss": SVD,
    "adaption_prompt": "it replaces the attention of LLaMA models and leaves the targets unchanged",
    "frod": SVD,
    "poly": "it needs a `task_ids` input in every forward pass",
    "psoft": SVD,
    "shadow": "it wraps decoder blocks instead of Linear layers",
    "trainable_tokens": "it trains rows of the embedding instead of Linear layers",
    "xlora": "it combines LoRA adapters that have been trained before",
}
UNMERGEABLE = ("beft", "lily")  # a bias for layers without one; a router that depends on the input
NORMALISATION = ("ln_tuning",)  # types whose targets are no Linear layers
RANDOM = ("pvera",)  # random numbers in every training step, which diffusion's checkpoints do not restore
TARGETS = (
    "target_modules",
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
)


def folder() -> Path:
    """Return the folder of the installed PEFT; raise JobError if there is none."""
    found = PathFinder.find_spec("peft")
    expect(found is not None, "expected PEFT in the environment of Snakemake, found none. Run `make install`")
    return Path(found.submodule_search_locations[0])


class Registered(NamedTuple):
    """The name of a type's config class, and the folder of its source."""

    config: str
    folder: Path


@cache
def types() -> dict[str, Registered]:
    """Return every type that PEFT registers."""
    found = {}
    for path in sorted(folder().glob("tuners/*/__init__.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "register_peft_method":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                found[ast.literal_eval(given["name"])] = Registered(given["config_cls"].id, path.parent)
    return found


@cache
def config_classes() -> dict[str, ast.ClassDef]:
    """Return the definitions of PEFT's config classes by name."""
    paths = [folder() / "config.py", *folder().glob("tuners/*_utils.py"), *folder().glob("tuners/*/config.py")]
    nodes = [node for path in paths for node in ast.parse(path.read_text()).body]
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def bases(name: str) -> list[str]:
    """Return a config class and the config classes it derives from."""
    if name not in config_classes():
        return []
    return [name, *(one for base in config_classes()[name].bases for one in bases(ast.unparse(base)))]


def fields(name: str) -> set[str]:
    """Return the names of a config class's arguments."""
    body = (node for one in bases(name) for node in config_classes()[one].body)
    return {node.target.id for node in body if isinstance(node, ast.AnnAssign)}


def quantizes(kind: str) -> bool:
    """Return whether PEFT has layers of a type for 4-bit base models."""
    return (types()[kind].folder / "bnb.py").exists()


def check(place: str, kind: str) -> None:
    """Raise JobError unless PEFT has a type that works as an adapter of a list of targets."""
    nearest = "".join(get_close_matches(kind.lower(), types(), n=1, cutoff=0))
    expect(
        kind in types(),
        f"{place}: expected a type of the installed PEFT ({', '.join(sorted(types()))}), found {kind!r}. "
        f"Correct the name; the nearest is {nearest!r}",
    )
    reason = UNSUPPORTED.get(kind)
    if "PromptLearningConfig" in bases(types()[kind].config):
        reason = "it adds virtual tokens to the input and leaves the targets unchanged"
    expect(reason is None, f"{place}: type {kind} cannot run here: {reason}. Use a type that adapts Linear layers")


def check_arguments(place: str, kind: str, peft: dict) -> None:
    """Raise JobError for an argument that the config class of a type lacks, or that the workflow sets."""
    known = fields(types()[kind].config) - fields("PeftConfig") - {*TARGETS}
    for name in peft:
        expect(
            name not in TARGETS,
            f"{place}.{name}: the modules with adapters are those of `targets`, a list of the model. Remove {name}",
        )
        nearest = "".join(get_close_matches(name, known, n=1, cutoff=0))
        expect(
            name in known,
            f"{place}.{name}: {types()[kind].config} has no such argument that a variant can set. "
            f"Correct the name; the nearest is {nearest!r}",
        )


# Trainable tensors of one layer, with n inputs and out outputs: attribute of PEFT's layer → its shape.


def sizes(kind: str, asked, n: int, out: int) -> dict:
    """Return the tensors of a type whose arithmetic is known; {} for the others, and for sizes stated per layer."""
    return TENSORS[kind](asked, n, out) if kind in TENSORS and not per_layer(asked) else {}


def per_layer(asked) -> bool:
    """Return whether a PEFT config states sizes per layer: `rank_pattern` and the like."""
    return any(value for name, value in vars(asked).items() if name.endswith("_pattern"))


def delora(asked, n: int, out: int) -> dict:
    return {"delora_A": (asked.r, n), "delora_B": (out, asked.r), "delora_lambda": (1,)}


def ia3(asked, n: int, out: int) -> dict:
    return {} if asked.feedforward_modules else {"ia3_l": (out, 1)}


def loha(asked, n: int, out: int) -> dict:
    factors = {"a": (out, asked.r), "b": (asked.r, n)}
    return {f"hada_{w}_{side}": shape for w in ("w1", "w2") for side, shape in factors.items()}


def randlora(asked, n: int, out: int) -> dict:
    matrices = ceil(min(n, out) / asked.r)
    return {"randlora_lambda": (asked.r, matrices), "randlora_gamma": (matrices, min(n, out))}


def road(asked, n: int, out: int) -> dict:
    size = {"road_1": out // 2, "road_2": out, "road_4": 2 * out}[asked.variant]
    return {"road_theta": (size,), "road_alpha": (size,)}


TENSORS: dict[str, Callable] = {
    "c3a": lambda asked, n, out: {"c3a_kernel": (out // asked.block_size, n // asked.block_size, asked.block_size)},
    "delora": delora,
    "fourierft": lambda asked, n, out: {"fourierft_spectrum": (asked.n_frequency,)},
    "hira": lambda asked, n, out: {"hira_A": (asked.r, n), "hira_B": (out, asked.r)},
    "ia3": ia3,
    "loha": loha,
    "miss": lambda asked, n, out: {"miss_block": (asked.r, out)} if asked.init_weights is True else {},
    "randlora": randlora,
    "road": road,
    "shira": lambda asked, n, out: {"shira_weight": (asked.r * (n + out),)},
    "vera": lambda asked, n, out: {"vera_lambda_d": (asked.r,), "vera_lambda_b": (out,)},
    "waveft": lambda asked, n, out: {"waveft_spectrum": (asked.n_frequency,)},
}
