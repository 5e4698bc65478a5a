"""The adapter types of the installed PEFT, and the arguments that a config can set.

It is imported on login nodes. Importing PEFT imports torch, so only jobs do it, in `config_class` and what calls it.
"""

import runpy
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from hra_workflow.core.errors import expect
from hra_workflow.core.wording import meant

# Facts that PEFT does not tell: types that need more than targets, a single adapter and the usual inputs.
TOKENS = "it trains vectors that precede the input, or its keys and values, instead of Linear layers"
SVD = "what it freezes is computed from singular vectors and not saved, and another machine may compute other ones"
UNSUPPORTED = {
    "adamss": SVD,
    "adaption_prompt": "it replaces the attention of LLaMA models and leaves the targets unchanged",
    "cartridge": "its initial tokens are the cache of a text, which takes additional calls",
    "cpt": "its tokens are those of examples, and its loss needs their types as an input",
    "frod": SVD,
    "multitask_prompt_tuning": "it needs a `task_ids` input in every forward pass",
    "p_tuning": TOKENS,
    "poly": "it needs a `task_ids` input in every forward pass",
    "prefix_tuning": TOKENS,
    "prompt_tuning": TOKENS,
    "psoft": SVD,
    "shadow": "it wraps decoder blocks instead of Linear layers",
    "trainable_tokens": "it trains rows of the embedding instead of Linear layers",
    "xlora": "it combines LoRA adapters that have been trained before",
}
UNMERGEABLE = ("beft", "lily")  # a bias for layers without one; a router that depends on the input
NORMALISATION = ("ln_tuning",)  # types whose targets are not Linear layers
FOUR_BIT = ("hira", "ia3", "pvera", "randlora", "road")  # types with layers for 4-bit models, besides METHODS
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
PLAIN = {"int": (int,), "float": (int, float), "bool": (bool,)}  # type of an argument: those of its values
OF_MODEL = ("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers")


@cache
def types() -> list[str]:
    """Return the names of PEFT's types: those of its enumeration, whose module runs without torch."""
    found = PathFinder.find_spec("peft")
    expect(found is not None, "expected PEFT in the environment of Snakemake, found none. Run `make install`")
    module = runpy.run_path(str(Path(found.submodule_search_locations[0], "utils/peft_types.py")))
    return sorted(one.value.lower() for one in module["PeftType"])


def check(place: str, kind: str) -> None:
    """Raise JobError unless PEFT has this type and the workflow can run it."""
    expect(
        kind in types(),
        f"{place}: expected a type of the installed PEFT ({', '.join(types())}), found {kind!r}"
        f"{meant(kind, types())}. Correct the name",
    )
    reason = UNSUPPORTED.get(kind)
    expect(reason is None, f"{place}: type {kind} cannot run here: {reason}. Use a type that adapts Linear layers")


def config_class(kind: str) -> type:
    """Return the class that configures a type: PEFT's, or the one of `hra`."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    import hra

    hra.install()
    return PEFT_TYPE_TO_CONFIG_MAPPING[kind.upper()]


def check_arguments(place: str, kind: str, peft: dict) -> None:
    """Raise JobError for an argument that a type lacks or the workflow sets, and for a type that adapts no layers.

    Of the values, only numbers and booleans are checked; PEFT checks the others when it builds the adapter.
    """
    from peft import PeftConfig, PromptLearningConfig

    config = config_class(kind)
    expect(
        not issubclass(config, PromptLearningConfig),
        f"{place}: type {kind} cannot run here: {TOKENS}. Use a type that adapts Linear layers",
    )
    fields, of_all = config.__dataclass_fields__, PeftConfig.__dataclass_fields__
    known = sorted({*fields} - {*of_all, *TARGETS, *OF_MODEL})
    for name, value in peft.items():
        expect(
            name in known,
            f"{place}.{name}: {config.__name__} has no such argument that a variant can set{meant(name, known)}. "
            f"Use one of {', '.join(known)}",
        )
        wanted = getattr(fields[name].type, "__name__", fields[name].type)  # a text if annotations are postponed
        expect(
            type(value) in PLAIN.get(wanted, (type(value),)),
            f"{place}.{name}: expected a value of type {wanted}, found {value!r}. Correct it",
        )
