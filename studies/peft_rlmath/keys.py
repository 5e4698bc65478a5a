"""The keys of the task math with training by rewards: its hyper-parameters besides those of every task."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from hra_workflow.keys.hyperparameters import Hyperparameters
from hra_workflow.keys.section import Fraction, Section, key
from hra_workflow.keys.texts import Tune, search_of
from hra_workflow.tasks.math import keys

Dataset = keys.Dataset
PartOfOne = Annotated[float, Field(gt=0, le=1)]


class VLLM(Section):
    """Sample with vLLM, of the training's environment, on the same GPU; such a run is not resumed exactly."""

    gpu_memory_utilization: PartOfOne = key("Fraction of the GPU's memory that it takes.", absent="TRL's")
    max_model_length: PositiveInt = key("Tokens of question and answer that it reserves memory for.", absent="TRL's")
    enable_sleep_mode: bool = key("Free its memory while the model is trained.", absent="TRL's")


class RewardedHyperparameters(Hyperparameters, title="Hyper-parameters"):
    """Those of every task, and those of training by rewards, which all need but vllm."""

    reward: str = key(
        "A metric of answers, which rewards a correct one with 1, others with 0.", absent="required", examples=["boxed"]
    )
    num_generations: Annotated[int, Field(ge=2)] = key("Sampled answers per question.", absent="required")
    generation_batch_size: Annotated[int, Field(ge=2)] = key(
        "Answers that are sampled at a time, a multiple of num_generations and of a micro-batch. Training stops and "
        "resumes only where one ends.",
        absent="required",
    )
    max_completion_length: PositiveInt = key(
        "Tokens of a sampled answer; `max_length` also includes the question.", absent="required"
    )
    temperature: PositiveFloat = key("Of sampling.", absent="required")
    top_p: PartOfOne = key("Sample among the likeliest tokens with this probability together.", absent="required")
    top_k: NonNegativeInt = key("Sample among this number of the likeliest tokens; 0, all.", absent="required")
    min_p: Fraction = key("Leave out tokens below this fraction of the likeliest one's.", absent="required")
    repetition_penalty: PositiveFloat = key("Divides the logits of tokens that have occurred.", absent="required")
    beta: NonNegativeFloat = key("Weight of the KL divergence from the base model.", absent="required")
    epsilon: PositiveFloat = key("The ratio of probabilities is clipped to 1 ± epsilon.", absent="required")
    num_iterations: PositiveInt = key("How often each sampled answer is trained on.", absent="required")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = key(
        "How the loss is averaged over tokens and answers, as in TRL's GRPOConfig.", absent="required"
    )
    scale_rewards: Literal["group", "batch", "none"] = key(
        "Over what the standard deviation is taken that divides rewards.", absent="required"
    )
    importance_sampling_level: Literal["token", "sequence"] = key(
        "Ratios of probabilities per token, or one per answer.", absent="required"
    )
    mask_truncated_completions: bool = key("Answers that reach their limit count in no loss.", absent="required")
    vllm: VLLM | None = key(default=None)


class Settings(keys.Settings, title="tasks.math"):
    """Mathematical reasoning, trained by rewards."""

    defaults: RewardedHyperparameters = key("Hyper-parameters that a preset may override.", reruns="training")
    tune: Tune[search_of(RewardedHyperparameters)] | None = key(default=None, reruns="training")  # type: ignore[misc]
