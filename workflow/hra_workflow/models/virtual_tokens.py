"""Virtual tokens (prompt tuning, P-tuning, prefix tuning): their names, and the models that support them.

Generation with them is in served_tokens.py.
"""

from hra_workflow.core.errors import JobError
from hra_workflow.methods import peft_types

NAME = "default"  # the name of the only adapter
PREFIX = f"prompt_encoder.{NAME}."  # of all parameters that virtual tokens train, except the head


def task_type(model, head: list[str] | None) -> str:
    """Return PEFT's name of a model's task. Its class for classifiers always trains the head."""
    return "CAUSAL_LM" if model.can_generate() else "SEQ_CLS" if head else "FEATURE_EXTRACTION"


def check(adapted, asked) -> None:
    """Raise JobError unless a PEFT model can use the virtual tokens of the config `asked`."""
    from hra_workflow.models import decoding

    kind, base = asked.peft_type.value.lower(), adapted.get_base_model()
    window = "sliding_attention" if getattr(base.config, "sliding_window", None) else "full_attention"
    layers = set(getattr(base.config, "layer_types", None) or [window])
    if kind in peft_types.CACHED and not (decoding.is_supported(base) and layers == {"full_attention"}):
        raise JobError(
            f"{kind}: expected a model with a cache of the keys and values of all tokens, found "
            f"{type(base).__name__} ({', '.join(sorted(layers))}). Use prompt_tuning or p_tuning."
        )
