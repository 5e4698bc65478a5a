"""The keys of a method and its variants."""

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import NonNegativeFloat, PositiveInt, model_validator

from hra_workflow import methods
from hra_workflow.keys.section import Fraction, Function, Name, Section, key


class Budget(Section):
    """Fractions of all steps before and after the rank reduction of kind adalora."""

    initial: Fraction = key("Fraction of all steps that are trained at `init_r` first.")
    final: Fraction = key("Fraction of all steps that are trained at the final ranks last.")

    @model_validator(mode="after")
    def check(self) -> "Budget":
        if self.initial + self.final <= 1:
            return self
        raise ValueError(f"expected initial + final ≤ 1, found {self.initial} + {self.final}")


class Variant(Section, title="methods.{name}.variants.{variant}"):
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
    peft: dict[str, Any] = key(
        "Arguments of PEFT's config class but those for modules, which `targets` replaces; the first job checks them.",
        absent="PEFT's defaults; kinds without an adapter have none",
        examples=[{"r": 8}],
    )
    budget: Budget = key(absent="the kind is not adalora")


class Method(Section, title="methods.{name}"):
    """A fine-tuning method."""

    kind: Literal[tuple([*methods.METHODS, methods.PEFT])] | Function = key(  # type: ignore[valid-type]
        "What the method does (docs/config/methods.md). peft: any type of the installed PEFT; module:name: your kind."
    )
    type: str = key("Of kind peft: its type in lower case.", absent="the kind is another one", examples=["vera"])
    version: PositiveInt = key("Raise it in the commit that changes results: the method's runs are repeated.")
    variants: Annotated[dict[Name, Variant], Len(1)] = key("Its sizes and options, by name.")
