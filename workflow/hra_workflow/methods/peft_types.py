"""The adapter types of the installed PEFT, and the arguments that a config can set.

Most types adapt layers; those with virtual tokens train vectors that precede the input, or its keys and values.

It is imported on login nodes. Importing PEFT imports torch, so names and arguments are parsed from its source files.
"""

import ast
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

from hra_workflow.core.errors import expect
from hra_workflow.core.wording import meant

# Facts that PEFT's source does not contain: types that need more than targets, a single adapter and the usual inputs.
SVD = "what it freezes is computed from singular vectors and not saved, and another machine may compute other ones"
UNSUPPORTED = {
    "adamss": SVD,
    "adaption_prompt": "it replaces the attention of LLaMA models and leaves the targets unchanged",
    "cartridge": "its initial tokens are the cache of a text, which takes additional calls",
    "cpt": "its tokens are those of examples, and its loss needs their types as an input",
    "frod": SVD,
    "multitask_prompt_tuning": "it needs a `task_ids` input in every forward pass",
    "poly": "it needs a `task_ids` input in every forward pass",
    "psoft": SVD,
    "shadow": "it wraps decoder blocks instead of Linear layers",
    "trainable_tokens": "it trains rows of the embedding instead of Linear layers",
    "xlora": "it combines LoRA adapters that have been trained before",
}
UNMERGEABLE = ("beft", "lily")  # a bias for layers without one; a router that depends on the input
NORMALISATION = ("ln_tuning",)  # types whose targets are not Linear layers
VIRTUAL = ("prompt_tuning", "p_tuning", "prefix_tuning")  # types with virtual tokens
CACHED = ("prefix_tuning",)  # … whose tokens are keys and values in a cache, instead of inputs
OWN = {"hra": "hra"}  # types whose config class another package replaces with one of the same name in its config.py
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
OF_MODEL = ("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers")


def folder() -> Path:
    """Return the folder of the installed PEFT; raise JobError if it is not installed."""
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
    """Return the definitions of PEFT's config classes by name, and of those that replace one by package.name."""
    paths = [folder() / "config.py", *folder().glob("tuners/*_utils.py"), *folder().glob("tuners/*/config.py")]
    found = {name: node for path in paths for name, node in classes_in(path).items()}
    for package in OWN.values():
        (place,) = PathFinder.find_spec(package).submodule_search_locations
        found |= {f"{package}.{name}": node for name, node in classes_in(Path(place, "config.py")).items()}
    return found


def classes_in(path: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}


def config_class(kind: str) -> str:
    """Return the name in `config_classes` of the class that configures a type."""
    return ".".join(filter(None, [OWN.get(kind), types()[kind].config]))


def bases(name: str) -> list[str]:
    """Return a config class and the config classes it derives from."""
    name = name.removeprefix("peft.")
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
    """Raise JobError unless PEFT has this type and the workflow can run it."""
    expect(
        kind in types(),
        f"{place}: expected a type of the installed PEFT ({', '.join(sorted(types()))}), found {kind!r}"
        f"{meant(kind, types())}. Correct the name",
    )
    reason = UNSUPPORTED.get(kind)
    if "PromptLearningConfig" in bases(types()[kind].config) and kind not in VIRTUAL:
        reason = reason or "it adds virtual tokens in a way that is unknown here"
    expect(reason is None, f"{place}: type {kind} cannot run here: {reason}. Use a type that adapts Linear layers")


def check_arguments(place: str, kind: str, peft: dict) -> None:
    """Raise JobError for an argument that the config class of a type lacks, or that the workflow sets."""
    known = fields(config_class(kind)) - fields("PeftConfig") - {*TARGETS, *OF_MODEL}
    for name in peft:
        expect(
            name not in TARGETS,
            f"{place}.{name}: the modules with adapters are those of `targets`, a list of the model. Remove {name}",
        )
        expect(
            name in known,
            f"{place}.{name}: {types()[kind].config} has no such argument that a variant can set"
            f"{meant(name, known)}. Use one of {', '.join(sorted(known))}",
        )


def virtual_fault(variant: dict) -> str | None:
    """Return the error of a variant with virtual tokens and how to correct it, or None."""
    peft = variant["peft"]
    count = peft.get("num_virtual_tokens")
    if not isinstance(count, int) or count < 1:
        return f"peft.num_virtual_tokens: expected a positive integer, found {count}. Set it, for example to 20"
    if peft.get("prompt_tuning_init") == "TEXT":
        return "peft.prompt_tuning_init is TEXT, which needs the path of a tokenizer. Use RANDOM or SAMPLE_VOCAB"
    if not variant.get("train_head", True):
        return "train_head is false, but PEFT trains the classifier together with virtual tokens. Remove it"
    return None
