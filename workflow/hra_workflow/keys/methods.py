"""The keys of a method, its variants and their arguments of PEFT."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from annotated_types import Len
from pydantic import Discriminator, NonNegativeFloat, PositiveFloat, PositiveInt, Tag, model_validator

from hra_workflow import methods
from hra_workflow.keys.section import Fraction, Function, Name, Section, key

BIASES = "Biases of the base model that are trained too: none, all, or those of the adapted layers."
P = TypeVar("P")


class HRA(Section, title="peft of kind hra"):
    """HRA's config class."""

    r: PositiveInt = key(
        "Rank: reflections of a layer, r × inputs parameters. Even, since the initial vectors are pairs, unless "
        "`init_weights` is false."
    )
    apply_GS: bool = key(
        "λ = ∞: the vectors are replaced by an orthonormal basis of their span in every step (docs/mathematics.md).",
        default=False,
    )
    init_scale: PositiveFloat = key(
        "Standard deviation of the initial vectors' entries, per reflection; with 1/128, learning rates are like "
        "LoRA's. Not in the paper.",
        absent="PEFT's initial vectors",
    )
    init_weights: bool = key(
        "Initial vectors equal in pairs, so that the initial model is the base model. false: all random.", default=True
    )
    bias: Literal["none", "all", "hra_only"] = key(BIASES, default="none")


class LoRA(Section, title="peft of kind lora"):
    """PEFT's LoraConfig."""

    r: PositiveInt = key("Rank of B A: r × (inputs + outputs) parameters per layer.")
    lora_alpha: PositiveInt = key("The update is B A × lora_alpha / r; usually r or 2 r.", default=8)
    lora_dropout: Fraction = key("Fraction of the inputs of A that are dropped in training.", default=0.0)
    use_rslora: bool = key("Divide lora_alpha by √r instead of r (rsLoRA).", default=False)
    init_lora_weights: Literal[True, "gaussian", "pissa", "pissa_niter_16"] = key(
        "A is random and B zero (gaussian: normally distributed); or the largest singular vectors of W (PiSSA), "
        "exactly or by 16 iterations, from a separate job.",
        default=True,
    )
    bias: Literal["none", "all", "lora_only"] = key(BIASES, default="none")


class OFT(Section, title="peft of kind oft"):
    """PEFT's OFTConfig, with exactly one of `r` and `oft_block_size`."""

    r: PositiveInt = key("Blocks per layer.", absent="inputs / oft_block_size")
    oft_block_size: PositiveInt = key(
        "Side of a block of the orthogonal matrix; it divides the inputs of every layer.", absent="inputs / r"
    )
    module_dropout: Fraction = key("Probability that a block is the identity in a training step.", default=0.0)
    coft: bool = key("Limit the rotation to the distance `eps` from the identity (COFT).", default=False)
    eps: float = key("That distance.", default=6.0e-5)
    block_share: bool = key("All blocks of a layer share one block's parameters.", default=False)
    use_cayley_neumann: bool = key(
        "Approximate the Cayley transform by a Neumann series: faster, orthogonal up to its error.", default=True
    )
    bias: Literal["none", "all", "oft_only"] = key(BIASES, default="none")


class BOFT(Section, title="peft of kind boft"):
    """PEFT's BOFTConfig, with exactly one of `boft_block_size` and `boft_block_num`."""

    boft_block_size: PositiveInt = key(
        "Side b of a block; even if there are several factors.", absent="inputs / boft_block_num"
    )
    boft_block_num: PositiveInt = key(
        "Blocks per factor; a multiple of 2^(factors − 1).", absent="inputs / boft_block_size"
    )
    boft_n_butterfly_factor: PositiveInt = key("Butterfly factors m, as in BOFT's paper: 1 is OFT.", default=1)
    boft_dropout: Fraction = key("Probability that a block is the identity in a training step.", default=0.0)
    bias: Literal["none", "all", "boft_only"] = key(BIASES, default="none")


class AdaLoRA(Section, title="peft of kind adalora"):
    """PEFT's AdaLoraConfig. The hyper-parameter `adalora` overrides some of it for a dataset."""

    init_r: PositiveInt = key("Rank of every layer at the start.")
    target_r: PositiveInt = key("Mean rank at the end; layers get different ones.")
    deltaT: PositiveInt = key("Optimiser steps between two rank allocations.", default=1)
    beta1: Fraction = key("Decay of the moving average of a singular value's sensitivity.", default=0.85)
    beta2: Fraction = key("Decay of the moving average of its uncertainty.", default=0.85)
    orth_reg_weight: float = key("Weight of the penalty that keeps the singular vectors orthogonal.", default=0.5)
    lora_alpha: PositiveInt = key("Scale of the update, as for LoRA.", default=8)
    lora_dropout: Fraction = key("Fraction of the inputs of A that are dropped in training.", default=0.0)


class Budget(Section):
    """Fractions of all steps before and after the rank reduction of kind adalora."""

    initial: Fraction = key("Fraction of all steps that are trained at `init_r` first.")
    final: Fraction = key("Fraction of all steps that are trained at the final ranks last.")

    @model_validator(mode="after")
    def check(self) -> "Budget":
        if self.initial + self.final <= 1:
            return self
        raise ValueError(f"expected initial + final ≤ 1, found {self.initial} + {self.final}")


class Variant(Section, Generic[P], title="methods.{name}.variants.{variant}"):
    """A method with a size and options; `method/variant` is a run of the grid."""

    label: str = key(
        "As shown in tables, figures and sheets.",
        absent="the names of method and variant",
        examples=["HRA, r=16, λ=0"],
        reruns="table",
    )
    targets: str = key(
        "A list of the model's targets.", absent="the kind adapts no layers (full, bitfit, …)", examples=["paper"]
    )
    lambda_: NonNegativeFloat = key(
        "hra: the weight λ of the penalty that makes the vectors of a layer orthogonal (Eq. 6); λ = ∞ is "
        "`peft.apply_GS: true`.",
        alias="lambda",
        default=0.0,
    )
    penalty: Literal["squared", "norm"] = key(
        "hra, with a lambda above 0: as in Eq. 6, or the official code's norm.", default="squared"
    )
    train_head: bool = key("false: the head stays at its random start, as in the official code.", default=True)
    peft: P = key(
        "Arguments of PEFT's config class; of kind peft all but those for modules, which `targets` replaces.",
        absent="PEFT's defaults; kinds without an adapter have none",
        examples=[{"r": 8}],
    )
    budget: Budget = key(absent="the kind is not adalora")


class Method(Section, Generic[P], title="methods.{name}"):
    """A fine-tuning method."""

    kind: Literal[tuple([*methods.METHODS, methods.PEFT])] | Function = key(  # type: ignore[valid-type]
        "What the method does (docs/config/methods.md). peft: any type of the installed PEFT; module:name: your kind."
    )
    type: str = key("Of kind peft: its type in lower case.", absent="the kind is another one", examples=["vera"])
    version: PositiveInt = key("Raise it in the commit that changes results: the method's runs are repeated.")
    variants: Annotated[dict[Name, Variant[P]], Len(1)] = key("Its sizes and options, by name.")


def arguments(method: Any) -> str:
    """Return the kind of a method if the arguments of its class are known, else `other`."""
    kind = method.get("kind") if isinstance(method, dict) else None
    return kind if kind in ("hra", "lora", "oft", "boft", "adalora") else "other"


AnyMethod = Annotated[
    Annotated[Method[HRA], Tag("hra")]
    | Annotated[Method[LoRA], Tag("lora")]
    | Annotated[Method[OFT], Tag("oft")]
    | Annotated[Method[BOFT], Tag("boft")]
    | Annotated[Method[AdaLoRA], Tag("adalora")]
    | Annotated[Method[dict[str, Any]], Tag("other")],
    Discriminator(arguments),
]
