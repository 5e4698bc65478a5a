"""Hyper-parameters, and presets of them."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from hra_workflow.keys.section import Fraction, Precision, Section, key

EVERY_RUN = "required"
H = TypeVar("H")


class AdaLoRASteps(Section):
    """Values for runs of kind adalora, which replace the variant's `peft` and `budget`, in steps."""

    lora_alpha: PositiveInt = key("Scale of the update.", absent="the variant's")
    orth_reg_weight: NonNegativeFloat = key(
        "Weight of the penalty that keeps the singular vectors orthogonal.", absent="the variant's"
    )
    tinit: NonNegativeInt = key("Steps before the rank reduction.", absent="the variant's `budget.initial` × all steps")
    tfinal: NonNegativeInt = key("Steps after the rank reduction.", absent="the variant's `budget.final` × all steps")
    deltaT: PositiveInt = key("Steps between two rank allocations.", absent="the variant's")


class Hyperparameters(Section, title="Hyper-parameters"):
    """The keys of `tasks.{task}.defaults` and of presets, required by every trained run or by those of a task."""

    epochs: PositiveFloat = key(
        "Passes over the training rows.", absent="required: control; glue and math need it or `max_steps`"
    )
    max_steps: PositiveInt = key("Optimiser steps.", absent="required: subject; glue and math need it or `epochs`")
    epoch_steps: PositiveInt = key(
        "subject: optimiser steps per epoch, after which a checkpoint is saved and generates images.",
        absent="required: subject",
    )
    keep_epochs: Literal["all", "last"] = key("subject: whose checkpoints are kept.", absent="required: subject")
    learning_rate: PositiveFloat = key("Of AdamW, at its highest point.", absent=EVERY_RUN)
    head_learning_rate: PositiveFloat = key("glue: of the head.", absent="`learning_rate`")
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = key(
        "Of the learning rate; linear and cosine rise in warmup_steps and fall to 0.", absent=EVERY_RUN
    )
    warmup_steps: NonNegativeFloat = key(
        "Steps in which the learning rate rises from 0; below 1, a fraction of all.", absent=EVERY_RUN
    )
    batch_size: PositiveInt = key(
        "Effective batch size, a multiple of gpu × gradient_accumulation.",
        absent=EVERY_RUN,
    )
    gradient_accumulation: PositiveInt = key(
        "Micro-batches per optimiser step: more of them take less memory.", absent=EVERY_RUN
    )
    eval_batch_size: PositiveInt = key(
        "glue: rows that are evaluated at a time; changes rounding only.",
        absent="a micro-batch in training, `batch_size` in a separate evaluation",
        reruns="nothing",
    )
    eval_steps: PositiveInt | Annotated[float, Field(gt=0, lt=1)] = key(
        "glue: optimiser steps between evaluations; below 1, a fraction of all.",
        absent="required: glue",
    )
    weight_decay: NonNegativeFloat = key("Of AdamW.", absent=EVERY_RUN)
    max_grad_norm: NonNegativeFloat = key("Gradients are clipped to this norm; 0, no clipping.", absent=EVERY_RUN)
    adam_epsilon: PositiveFloat = key("ε of AdamW.", absent=EVERY_RUN)
    max_length: Annotated[int, Field(ge=8)] = key(
        "Maximum tokens of a row; longer ones are truncated, and dropped if the question fills it.",
        absent="required: glue, math",
    )
    classifier_dropout: Fraction = key("glue: dropout before the classifier.", absent="that of the model's config.json")
    shuffle: bool = key("Reshuffle the rows in every epoch; control needs it.", default=True)
    group_by_length: bool | Literal["shuffled"] | Annotated[int, Field(ge=2)] = key(
        "glue, math: batch rows of similar length. true: transformers' order, long to short in every 50 batches, with "
        "worse results at high learning rates; shuffled: from windows of 64 micro-batches, unbiased; a number: of "
        "micro-batches.",
        default=False,
    )
    precision: Precision = key(
        "Of the computation. Trained weights and glue's base model are in float32.", absent=EVERY_RUN
    )
    base_precision: Precision = key(
        "math, subject: of the frozen base model's weights in training. LLaMA2-7B takes 27 GB in float32.",
        absent="required: math; subject: `precision`",
    )
    quantization: Literal["nf4"] | None = key(
        "nf4: the frozen base model in 4 bits (math, on a GPU with bitsandbytes); kind hra without `serve: merged`.",
        default=None,
    )
    tf32: bool = key(
        "subject, control: TF32 in float32 matrix products; convolutions always use it, PyTorch's default.",
        default=False,
    )
    gradient_checkpointing: bool = key(
        "Recompute activations in the backward pass: less memory, about a third more time.",
        absent="required: math, subject, control; glue never recomputes",
        reruns="nothing",
    )
    crop: Literal["random", "center"] = key(
        "subject: of images that are not square; with center, latents are computed once.", default="random"
    )
    prior_weight: NonNegativeFloat = key(
        "subject: weight of the loss on class images; 0, none.", absent="required: subject"
    )
    hint_start: Literal["torch", "unit-variance"] = key(
        "control: start of the hint encoder: PyTorch's, as in the official code, or one that keeps the variance, with "
        "effect after hundreds of steps instead of thousands.",
        default="torch",
    )
    prompt_dropout: Fraction = key(
        "control: fraction of prompts that are replaced with the empty one, for guidance.", absent="required: control"
    )
    adalora: AdaLoRASteps = key(absent="the variant's values")
    loss_on: Literal["answer", "text"] = key(
        "math: tokens that are learned; text: prompt and answer, tokenised as one text.", default="answer"
    )


class Preset(Section, Generic[H], title="presets.{task}.{name}"):
    """Named hyper-parameters; `all`, `methods.hra`, `methods.hra/r8` and `datasets.cola` override in this order."""

    source: str = key("Origin of the values.", examples=["arXiv 2405.17484v3 Table 5"], reruns="nothing")
    all: H = key("Hyper-parameters of every run.")
    methods: dict[str, H] = key("Method or method/variant: hyper-parameters of its runs.", default={})
    datasets: dict[str, H] = key("Dataset: hyper-parameters of the runs on it.", default={})
