"""The fine-tuning methods: one entry per `kind` in the config, with everything that differs between kinds.

Kind `peft` is any adapter type of the installed PEFT; its entry is that of the kind with the same name, or is built
from methods/peft_types.py.

It is imported on login nodes, so it imports neither torch nor pandas: code that needs them is named as `module:name`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hra_workflow.core import grid
from hra_workflow.core.imports import find
from hra_workflow.methods import peft_types

PEFT = "peft"
TRANSFORMERS = ("glue", "math")  # the tasks that train with the transformers Trainer


@dataclass(frozen=True)
class Adapter:
    """An adapter type of PEFT. The defaults mean no adapter.

    config: the type of its PEFT config; None: no adapter is inserted.
    one_of: arguments of that config of which a variant sets exactly one; PEFT needs a 0 for the others.
    unused: arguments that PEFT ignores, so that its layers record another value.
    arguments: function (method, as from grid.method; training steps) → further arguments of that config.
    starts_from_weights: function (arguments of that config) → whether the initial adapter depends on the base weights.
    linear: whether its targets are Linear layers.
    merges: whether it can be merged into the weights. merges_quantized: the same for a 4-bit base model.
    to_lora: `module:function` (adapter, new folder, base model) that writes an equivalent LoRA adapter.
    measure: `module:function` (folder of an adapter) → per layer its `layer`, `angle` and `orthogonality`.
    """

    config: str | None = None
    one_of: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    arguments: Callable[[dict, int], dict] = lambda method, steps: {}
    starts_from_weights: Callable[[dict], bool] = lambda peft: False
    linear: bool = True
    merges: bool = True
    merges_quantized: bool = True
    to_lora: str | None = None
    measure: str | None = None


@dataclass(frozen=True)
class Variants:
    """The allowed keys of a method's variants in the config.

    required, optional: keys that only variants of this kind must or may have.
    fault: function (method, as from grid.method) → description of an error in `peft` and how to correct it, or None.
    sweep: function (variant) → its `lambda` and `series` in the figure over λ; None: the method has no λ.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fault: Callable[[dict], str | None] = lambda method: None
    sweep: Callable[[dict], dict] | None = None


@dataclass(frozen=True)
class Method:
    """One kind of method. The defaults describe a method without an adapter, which trains only the head.

    colour: in figures (the palette of Okabe and Ito); None: a spare one (report/colours.py).
    baseline: whether it is a baseline of HRA.
    tasks: the tasks that can run it; None: every task.
    adapter, variants: see above.
    trains: whether it trains at all. base: the base model's parameters that it trains: all, biases or none.
    precision: the base model's precision in training; None: that of the hyper-parameter.
    quantizes: whether it can be trained on a 4-bit base model.
    penalty: `module:function` (model, method's slice) → weighted term added to the loss, or None.
    callbacks: `module:class` of transformers callbacks with `save_state` and `load_state` (model, checkpoint folder).
    real_images: whether the real images are evaluated instead of generated ones.
    controlnet: whether a ControlNet is trained in addition to the UNet, instead of a hint encoder.
    """

    colour: str | None = None
    baseline: bool = True
    tasks: tuple[str, ...] | None = None
    adapter: Adapter = Adapter()
    variants: Variants = Variants()
    trains: bool = True
    base: str = "none"
    precision: str | None = None
    quantizes: bool = True
    penalty: str | None = None
    callbacks: tuple[str, ...] = ()
    real_images: bool = False
    controlnet: bool = False

    def trains_parameter(self, name: str) -> bool:
        """Return whether a parameter of the base model, other than its head, is trained."""
        return self.base == "all" or (self.base == "biases" and name.endswith(".bias"))

    def runs(self, task: str) -> bool:
        """Return whether a task can run it."""
        return self.tasks is None or task in self.tasks

    def reads_weights(self, peft: dict) -> bool:
        """Return whether the initial adapter contains, or is computed from, parameters of the base model."""
        return peft.get("bias", "none") != "none" or self.adapter.starts_from_weights(peft)


# HRA


def hra_fault(method: dict) -> str | None:
    peft = method["peft"]
    paired = not peft.get("apply_GS", False) and peft.get("init_weights", True)
    if paired and peft.get("r", 8) % 2:
        return (
            f"peft.r is {peft['r']}; the paired initialisation (duplicated columns, H = I) needs an even r. "
            "Use an even r, or init_weights: false for a random initialisation"
        )
    return None


def hra_sweep(variant: dict) -> dict:
    peft = variant["peft"]
    r, scale = peft.get("r", 8), peft.get("init_scale")
    series = f"r={r}, initial scale {scale}" if scale else f"r={r}"
    return {"lambda": "inf" if peft.get("apply_GS") else variant.get("lambda", 0.0), "series": series}


# LoRA and AdaLoRA

LORA_CALLS = ("alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "loftq_config", "lora_ga_config")


def lora_starts_from_weights(peft: dict) -> bool:
    """Return true for DoRA, which stores the norms of the weights, and PiSSA, OLoRA, …, which factorise them."""
    plain = (True, False, "gaussian", "orthogonal")
    return peft.get("use_dora", False) or peft.get("init_lora_weights", True) not in plain


def lora_fault(method: dict) -> str | None:
    peft = method["peft"]
    start = peft.get("init_lora_weights", True)
    if not (isinstance(start, bool) or start in ("gaussian", "orthogonal") or str(start).startswith("pissa")):
        return (
            f"peft.init_lora_weights is {start!r}, which changes the base weights or needs data. "
            "Use true, gaussian, orthogonal, pissa or pissa_niter_16"
        )
    if found := next((name for name in peft if name in LORA_CALLS), None):
        return f"peft.{found} needs data or additional calls. Remove it"
    return None


def adalora_schedule(method: dict, steps: int) -> dict:
    """Return the steps before and after the rank reduction; a preset's values, in `peft`, take precedence."""
    fractions = {"tinit": method["budget"]["initial"], "tfinal": method["budget"]["final"]}
    return {"total_step": steps} | {name: int(fraction * steps) for name, fraction in fractions.items()}


METHODS = {
    "hra": Method(
        colour="#D55E00",
        baseline=False,
        adapter=Adapter(
            "hra",
            merges_quantized=False,
            to_lora="hra.conversion:to_lora",
            measure="hra.inspection:measure",
        ),
        variants=Variants(optional=("lambda", "penalty"), fault=hra_fault, sweep=hra_sweep),
        penalty="hra_workflow.training.optimizers:orthogonality",
    ),
    "lora": Method(
        colour="#0072B2",
        adapter=Adapter("lora", starts_from_weights=lora_starts_from_weights),
        variants=Variants(fault=lora_fault),
    ),
    "oft": Method(
        colour="#E69F00",
        adapter=Adapter("oft", one_of=("r", "oft_block_size")),
    ),
    "boft": Method(
        colour="#CC79A7",
        adapter=Adapter("boft", one_of=("boft_block_size", "boft_block_num")),
    ),
    "adalora": Method(
        colour="#56B4E9",
        tasks=TRANSFORMERS,  # only the transformers Trainer has callbacks
        adapter=Adapter("adalora", arguments=adalora_schedule, unused=("r",)),
        variants=Variants(required=("budget",)),
        penalty="hra_workflow.training.adalora:penalty",
        callbacks=("hra_workflow.training.adalora:AllocateRanks",),
    ),
    # All weights are trained: half precision would round small steps to zero.
    "full": Method(colour="#000000", base="all", precision="float32"),
    "bitfit": Method(colour="#009E73", tasks=("glue", "subject", "control"), base="biases"),
    "head": Method(colour="#999999", tasks=("glue", "control")),  # control: the hint encoder
    "controlnet": Method(colour="#6699CC", tasks=("control",), controlnet=True),
    "pretrained": Method(colour="#666666", tasks=("math", "subject", "control"), trains=False),
    "reference": Method(colour="#BBBBBB", tasks=("subject", "control"), trains=False, real_images=True),
}


def entry(method: dict) -> Method:
    """Return the entry of a method of the config, or of grid.method; raise JobError for a wrong `module:name`."""
    return of_type(method["type"]) if method["kind"] == PEFT else find(METHODS, Method, method["kind"], "methods: kind")


def of_type(kind: str) -> Method:
    """Return the entry of a type of PEFT."""
    if kind in METHODS and METHODS[kind].adapter.config:
        return METHODS[kind]
    return Method(
        tasks=TRANSFORMERS if kind in peft_types.RANDOM else None,
        adapter=Adapter(
            kind,
            starts_from_weights=lambda peft: True,  # PEFT does not tell
            linear=kind not in peft_types.NORMALISATION,
            merges=kind not in peft_types.UNMERGEABLE,
            merges_quantized=False,
        ),
        quantizes=kind in peft_types.FOUR_BIT,
    )


def of_peft(peft_config) -> Method:
    """Return the entry whose adapters a PEFT config describes."""
    return of_type(peft_config.peft_type.value.lower())


def get(config: dict, name: str) -> Method:
    """Return the entry of a method in the config."""
    return entry(config["methods"][name])


def trains(config: dict, run: str) -> bool:
    """Return whether `method/variant` trains anything."""
    return get(config, run.split("/")[0]).trains


def start_resources(config: dict, wildcards, attempt: int = 1) -> dict:
    """Return the resources of the job that creates an initial adapter: threads, mem_mb and runtime.

    Without the base model's weights it takes seconds; most memory, 8.7 GB for LLaMA2-7B, is BOFT's permutations.
    """
    entry = config["tasks"][wildcards.task]
    peft = grid.method(config, wildcards.task, wildcards.method, wildcards.variant)["peft"]
    reads = bool(peft) and get(config, wildcards.method).reads_weights(peft)
    stated = {"threads": 1, "mem_mb": min(32000 if reads else 12000, entry["resources"]["mem_mb"]), "runtime": 30}
    stated |= entry.get("augmentation", {}).get("resources", {}) if reads else {}
    return {name: grid.resource(stated, name, None, attempt) for name in stated}


def kinds_of(task: str) -> list[str]:
    """List the kinds that a task can run, including most types of kind `peft`."""
    return [*(kind for kind, one in METHODS.items() if one.runs(task)), PEFT]


def lambdas(config: dict, task: str) -> dict[str, dict]:
    """Return `lambda`, a number or "inf", and `series`, the group of comparable runs, for every run with a λ."""
    found = {}
    for run in grid.run_names(config, task):
        method, variant = run.split("/")
        if sweep := get(config, method).variants.sweep:
            found[run] = sweep(config["methods"][method]["variants"][variant])
    return found
