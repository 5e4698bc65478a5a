"""Virtual tokens (prompt tuning, P-tuning, prefix tuning): their names and sizes, and the models that support them.

Generation with them is in served_tokens.py.
"""

from hra_workflow.core.errors import JobError
from hra_workflow.methods import adapter_sizes, peft_types

NAME = "default"  # the name of the only adapter
PREFIX = f"prompt_encoder.{NAME}."  # of all parameters that virtual tokens train, except the head


def task_type(model, head: list[str] | None) -> str:
    """Return PEFT's name of a model's task. Its class for classifiers always trains the head."""
    return "CAUSAL_LM" if model.can_generate() else "SEQ_CLS" if head else "FEATURE_EXTRACTION"


def check(adapted, asked) -> None:
    """Raise JobError unless a PEFT model has the virtual tokens of the config `asked` and can use them."""
    from hra_workflow.models import decoding

    kind, base = asked.peft_type.value.lower(), adapted.get_base_model()
    heads = getattr(base.config, "num_key_value_heads", None) or base.config.num_attention_heads
    size = getattr(base.config, "head_dim", None) or base.config.hidden_size // base.config.num_attention_heads
    widths = base.config.hidden_size, base.config.num_hidden_layers, heads * size
    wanted = adapter_sizes.token_sizes(kind, asked, *widths)
    found = {name: tuple(adapted.prompt_encoder[NAME].get_parameter(name).shape) for name in wanted}
    if wrong := [name for name in wanted if wanted[name] != found[name]]:
        raise JobError(
            f"{kind}: expected {', '.join(f'{name} {wanted[name]}' for name in wrong)}, "
            f"found {', '.join(f'{name} {found[name]}' for name in wrong)}. Use another type with this model."
        )
    window = "sliding_attention" if getattr(base.config, "sliding_window", None) else "full_attention"
    layers = set(getattr(base.config, "layer_types", None) or [window])
    if kind in peft_types.CACHED and not (decoding.is_supported(base) and layers == {"full_attention"}):
        raise JobError(
            f"{kind}: expected a model with a cache of the keys and values of all tokens, found "
            f"{type(base).__name__} ({', '.join(sorted(layers))}). Use prompt_tuning or p_tuning."
        )
