"""The fine-tuning methods: one entry per `kind` in the config, with everything that differs between kinds.

Kind `peft` is any adapter type of the installed PEFT; its entry is that of the kind of the same name, or is built from
peft_types.py.

Imported on login nodes, so no torch and no pandas here: code that needs them is named as `module:name`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hra_workflow import adapter_sizes, peft_types, rewinding
from hra_workflow.core import grid

PEFT = "peft"
TRANSFORMERS = ("glue", "math")  # the tasks that train with the transformers Trainer


@dataclass(frozen=True)
class Method:
    """Describe one kind of method. The defaults describe a method without an adapter, which trains only the head.

    tasks: the tasks that can run it; None: every task. limit: why only these, for an error.
    colour: in figures (the palette of Okabe and Ito); None: a spare one (report/colours.py).
    trains: whether it trains at all. base: which of the base model's parameters it trains: all, biases or none.
    precision: of the base model in training, over the hyper-parameter; None: the hyper-parameter decides.
    real_images: the real images are evaluated instead of generated ones.
    controlnet: a ControlNet is trained in addition to the UNet, instead of a hint encoder.
    official_layers: the official single-file checkpoint stores its vectors; other methods are merged into the weights.

    peft_config: class in peft; None: it inserts no adapter.
    one_of: arguments of that class of which a variant sets exactly one; PEFT needs a 0 for the others.
    arguments: function (method's slice of the config, training steps) → further arguments of that class.
    starts_from_weights: function (arguments of that class) → whether the initial adapter depends on the base weights.
    virtual: it trains virtual tokens that precede the input; a variant has no targets.
    linear: whether its targets are Linear layers.
    tensors: function (PEFT config, inputs, outputs) → attribute of PEFT's layer → its value or its tensor's shape;
        None: only what the layer records of its config is checked.
    export_lora: `module:function` (PEFT model, folder) that writes an equivalent LoRA adapter.
    to_lora: the same from files, for an adapter that is none itself: (adapter, new folder, base model).
    measure: `module:function` (folder of an adapter) → per layer its `layer`, `angle` and `orthogonality`.
    rewind: how its weights are rewound; None: they cannot be.
    merges: whether it can be merged into the weights. merges_quantized: the same for a 4-bit base model.
    quantizes: whether it can be trained on a 4-bit base model.
    recomputes: whether it can be trained with gradient checkpointing.

    penalty: `module:function` (model, method's slice) → weighted term added to the loss, or None.
    callbacks: `module:class` of transformers callbacks with `save_state` and `load_state` (model, checkpoint folder).

    required, optional: keys that variants of this kind, and no others, must or may have.
    fault: function (variant) → description of its error and how to correct it, or None.
    sweep: function (variant) → its `lambda` and `series` in the figure over λ; None: the method has no λ.
    """

    tasks: tuple[str, ...] | None = None
    limit: str | None = None
    colour: str | None = None
    trains: bool = True
    base: str = "none"
    precision: str | None = None
    real_images: bool = False
    controlnet: bool = False
    official_layers: bool = False
    peft_config: str | None = None
    one_of: tuple[str, ...] = ()
    arguments: Callable[[dict, int], dict] = lambda method, steps: {}
    starts_from_weights: Callable[[dict], bool] = lambda peft: False
    virtual: bool = False
    linear: bool = True
    tensors: Callable[..., dict] | None = None
    export_lora: str | None = None
    to_lora: str | None = None
    rewind: rewinding.Rewinding | None = None
    merges: bool = True
    merges_quantized: bool = True
    measure: str | None = None
    quantizes: bool = True
    recomputes: bool = True
    penalty: str | None = None
    callbacks: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fault: Callable[[dict], str | None] = lambda variant: None
    sweep: Callable[[dict], dict] | None = None

    def trains_parameter(self, name: str) -> bool:
        """Return whether a parameter of the base model, other than its head, is trained."""
        return self.base == "all" or (self.base == "biases" and name.endswith(".bias"))

    def runs(self, task: str) -> bool:
        """Return whether a task can run it."""
        return self.tasks is None or task in self.tasks

    def reads_weights(self, peft: dict) -> bool:
        """Return whether the initial adapter contains, or is computed from, parameters of the base model."""
        return peft.get("bias", "none") != "none" or self.starts_from_weights(peft)


# HRA


def hra_fault(variant: dict) -> str | None:
    peft = variant["peft"]
    paired = not peft.get("apply_GS", False) and peft.get("init_weights", True)
    if paired and peft.get("r", 8) % 2:
        return (
            f"peft.r is {peft['r']}; the paired initialisation (duplicated columns, H = I) needs an even r. "
            "Use an even r, or init_weights: false for a random initialisation"
        )
    return None


def hra_sweep(variant: dict) -> dict:
    weight = "inf" if variant["peft"].get("apply_GS") else variant.get("lambda", 0.0)
    return {"lambda": weight, "series": f"r={variant['peft'].get('r', 8)}"}


# LoRA and AdaLoRA

LORA_CALLS = ("alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "loftq_config", "lora_ga_config")


def lora_starts_from_weights(peft: dict) -> bool:
    """Return true for DoRA, which stores the norms of the weights, and PiSSA, OLoRA, …, which factorise them."""
    return peft.get("use_dora", False) or peft.get("init_lora_weights", True) not in (
        True,
        False,
        "gaussian",
        "orthogonal",
    )


def lora_fault(variant: dict) -> str | None:
    peft = variant["peft"]
    start = peft.get("init_lora_weights", True)
    if not (isinstance(start, bool) or start in ("gaussian", "orthogonal") or str(start).startswith("pissa")):
        return (
            f"peft.init_lora_weights is {start!r}, which changes the base weights or needs data. "
            "Use true, gaussian, orthogonal, pissa or pissa_niter_16"
        )
    if found := next((name for name in peft if name in LORA_CALLS), None):
        return f"peft.{found} needs data or calls of its own. Remove it"
    return None


def adalora_schedule(method: dict, steps: int) -> dict:
    """Return the steps before and after the rank reduction; a preset's values, in `peft`, take precedence."""
    fractions = {"tinit": method["budget"]["initial"], "tfinal": method["budget"]["final"]}
    return {"total_step": steps} | {name: int(fraction * steps) for name, fraction in fractions.items()}


# OFT and BOFT


def boft_fault(variant: dict) -> str | None:
    peft = variant["peft"]
    factors = peft.get("boft_n_butterfly_factor", 1)
    size, blocks = peft.get("boft_block_size"), peft.get("boft_block_num")
    if factors > 1 and ((size or 2) % 2 or (blocks or 2 ** (factors - 1)) % 2 ** (factors - 1)):
        return (
            f"{factors} butterfly factors need an even boft_block_size, or a boft_block_num that is a multiple of "
            f"{2 ** (factors - 1)}; found {size or blocks}"
        )
    return None


METHODS = {
    "hra": Method(
        colour="#D55E00",
        peft_config="HRAConfig",
        tensors=adapter_sizes.hra,
        export_lora="hra:to_lora",
        to_lora="hra.conversion:to_lora",
        rewind=rewinding.HRA,
        merges_quantized=False,
        measure="hra.inspection:measure",
        official_layers=True,
        penalty="hra_workflow.training.penalties:orthogonality",
        optional=("lambda", "penalty"),
        fault=hra_fault,
        sweep=hra_sweep,
    ),
    "lora": Method(
        colour="#0072B2",
        peft_config="LoraConfig",
        starts_from_weights=lora_starts_from_weights,
        export_lora="peft:PeftModel.save_pretrained",
        tensors=adapter_sizes.lora,
        rewind=rewinding.LORA,
        optional=("loraplus_lr_ratio",),
        fault=lora_fault,
    ),
    "oft": Method(colour="#E69F00", peft_config="OFTConfig", one_of=("r", "oft_block_size"), tensors=adapter_sizes.oft),
    "boft": Method(
        colour="#CC79A7",
        peft_config="BOFTConfig",
        one_of=("boft_block_size", "boft_block_num"),
        tensors=adapter_sizes.boft,
        fault=boft_fault,
    ),
    "adalora": Method(
        tasks=TRANSFORMERS,  # only its Trainer has callbacks
        colour="#56B4E9",
        peft_config="AdaLoraConfig",
        arguments=adalora_schedule,
        tensors=adapter_sizes.adalora,
        rewind=rewinding.ADALORA,
        required=("budget",),
        penalty="hra_workflow.training.adalora:penalty",
        callbacks=("hra_workflow.training.adalora:AllocateRanks",),
    ),
    # Everything is trained: steps below the resolution of half precision would be lost.
    "full": Method(colour="#000000", base="all", precision="float32", rewind=rewinding.BASE),
    "bitfit": Method(tasks=("glue", "subject", "control"), colour="#009E73", base="biases", rewind=rewinding.BASE),
    "head": Method(tasks=("glue", "control"), colour="#999999"),  # control: the hint encoder
    "controlnet": Method(tasks=("control",), colour="#6699CC", controlnet=True),
    "pretrained": Method(tasks=("math", "subject", "control"), colour="#666666", trains=False),
    "reference": Method(tasks=("subject", "control"), colour="#BBBBBB", trains=False, real_images=True),
}


KINDS = (*METHODS, PEFT)


def entry(method: dict) -> Method:
    """Return the entry of a method in the config, or of its slice (grid.method)."""
    return of_type(method["type"]) if method["kind"] == PEFT else METHODS[method["kind"]]


def of_type(kind: str) -> Method:
    """Return the entry of a type of PEFT."""
    if kind in METHODS and METHODS[kind].peft_config:
        return METHODS[kind]
    if kind in peft_types.VIRTUAL:
        return Method(
            tasks=("math",) if kind in peft_types.CACHED else TRANSFORMERS,
            limit="virtual tokens are for text models; a prefix of keys and values, for those that take a cache",
            peft_config=peft_types.types()[kind].config,
            virtual=True,
            starts_from_weights=lambda peft: True,
            merges=False,
            quantizes=False,
            recomputes=kind not in peft_types.CACHED,
            fault=peft_types.virtual_fault,
        )
    return Method(
        tasks=TRANSFORMERS if kind in peft_types.RANDOM else None,
        peft_config=peft_types.types()[kind].config,
        starts_from_weights=lambda peft: True,  # PEFT does not tell
        linear=kind not in peft_types.NORMALISATION,
        tensors=partial(adapter_sizes.sizes, kind) if kind in adapter_sizes.TENSORS else None,
        merges=kind not in peft_types.UNMERGEABLE,
        merges_quantized=False,
        quantizes=peft_types.quantizes(kind),
    )


def virtual_tokens(method: dict) -> int:
    """Return how many virtual tokens a method (its slice, grid.method) puts before every input."""
    return method["peft"]["num_virtual_tokens"] if entry(method).virtual else 0


def of_peft(peft_config) -> Method:
    """Return the entry whose adapters a PEFT config describes."""
    return of_type(peft_config.peft_type.value.lower())


def of(config: dict, name: str) -> Method:
    """Return the entry of a method in the config."""
    return entry(config["methods"][name])


def start_resources(config: dict, wildcards, attempt: int = 1) -> dict:
    """Return the resources of the job that creates an initial adapter: threads, mem_mb and runtime.

    Without the base model's weights it takes seconds; most memory, 8.7 GB for LLaMA2-7B, is BOFT's permutations.
    """
    entry = config["tasks"][wildcards.task]
    peft = grid.method(config, wildcards.task, wildcards.method, wildcards.variant)["peft"]
    reads = bool(peft) and of(config, wildcards.method).reads_weights(peft)
    stated = {"threads": 1, "mem_mb": min(32000 if reads else 12000, entry["resources"]["mem_mb"]), "runtime": 30}
    stated |= entry.get("augmentation", {}).get("resources", {}) if reads else {}
    return {name: grid.resource(stated, name, None, attempt) for name in stated}


def kinds_of(task: str) -> list[str]:
    """List the kinds that a task can run; of kind `peft`, most types."""
    return [*(kind for kind, one in METHODS.items() if one.runs(task)), PEFT]


def lambdas(config: dict, task: str) -> dict[str, dict]:
    """Return `lambda`, a number or "inf", and `series`, the group of comparable runs, for every run with a λ."""
    found = {}
    for run in grid.names(config, task):
        method, variant = run.split("/")
        if sweep := of(config, method).sweep:
            found[run] = sweep(config["methods"][method]["variants"][variant])
    return found
