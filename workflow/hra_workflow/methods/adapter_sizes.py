"""The expected sizes of PEFT's layers by kind and type: trainable tensors, and values that the layers record.

Each function of a PEFT config and a layer with n inputs and `out` outputs returns attribute of PEFT's layer → value, or
shape of a tensor, or None for no tensor. models/built_adapters.py compares every inserted layer with them.
"""

import math
from collections.abc import Callable

from hra_workflow.methods import peft_types


def sizes(kind: str, asked, n: int, out: int) -> dict:
    """Return the tensors of a type whose sizes are known; {} for other types, and for sizes given per layer."""
    return TENSORS[kind](asked, n, out) if kind in TENSORS and not per_layer(asked) else {}


def per_layer(asked) -> bool:
    """Return whether a PEFT config gives sizes per layer, such as `rank_pattern`."""
    return any(value for name, value in vars(asked).items() if name.endswith("_pattern"))


def hra(asked, n: int, out: int) -> dict:
    sizes = {"hra_u": (n, asked.r), "hra_u_out": (out, asked.r) if asked.two_sided else None}
    return sizes | {"hra_magnitudes": (out,) if asked.magnitudes else None, "hra_apply_GS": asked.apply_GS}


def lora(asked, n: int, out: int) -> dict:
    if per_layer(asked):
        return {}
    scaling = asked.lora_alpha / (math.sqrt(asked.r) if asked.use_rslora else asked.r)
    sizes = {"lora_A.weight": (asked.r, n), "lora_B.weight": (out, asked.r), "scaling": scaling}
    return sizes | {"use_dora": asked.use_dora}


def adalora(asked, n: int, out: int) -> dict:
    sizes = {"lora_A": (asked.init_r, n), "lora_E": (asked.init_r, 1), "lora_B": (out, asked.init_r)}
    return {"scaling": asked.lora_alpha} | ({} if asked.rank_pattern else sizes)  # training changes the ranks


def oft(asked, n: int, out: int) -> dict:
    block = asked.oft_block_size or n // asked.r
    blocks = asked.r or n // block
    shape = (1 if asked.block_share else blocks, block * (block - 1) // 2)
    constraint = {"oft_R.coft": asked.coft} | ({"oft_R.eps": asked.eps} if asked.coft else {})
    return {"r": blocks, "oft_block_size": block, "oft_R.weight": shape} | constraint


def boft(asked, n: int, out: int) -> dict:
    block = asked.boft_block_size or n // asked.boft_block_num
    return {"boft_R": (asked.boft_n_butterfly_factor, n // block, block, block)}


def delora(asked, n: int, out: int) -> dict:
    return {"delora_A": (asked.r, n), "delora_B": (out, asked.r), "delora_lambda": (1,)}


def ia3(asked, n: int, out: int) -> dict:
    return {} if asked.feedforward_modules else {"ia3_l": (out, 1)}


def loha(asked, n: int, out: int) -> dict:
    factors = {"a": (out, asked.r), "b": (asked.r, n)}
    return {f"hada_{w}_{side}": shape for w in ("w1", "w2") for side, shape in factors.items()}


def randlora(asked, n: int, out: int) -> dict:
    matrices = math.ceil(min(n, out) / asked.r)
    return {"randlora_lambda": (asked.r, matrices), "randlora_gamma": (matrices, min(n, out))}


def road(asked, n: int, out: int) -> dict:
    size = {"road_1": out // 2, "road_2": out, "road_4": 2 * out}[asked.variant]
    return {"road_theta": (size,), "road_alpha": (size,)}


TENSORS: dict[str, Callable] = {
    "c3a": lambda asked, n, out: {"c3a_kernel": (out // asked.block_size, n // asked.block_size, asked.block_size)},
    "delora": delora,
    "fourierft": lambda asked, n, out: {"fourierft_spectrum": (asked.n_frequency,)},
    "hira": lambda asked, n, out: {"hira_A": (asked.r, n), "hira_B": (out, asked.r)},
    "ia3": ia3,
    "loha": loha,
    "miss": lambda asked, n, out: {"miss_block": (asked.r, out)} if asked.init_weights is True else {},
    "randlora": randlora,
    "road": road,
    "shira": lambda asked, n, out: {"shira_weight": (asked.r * (n + out),)},
    "vera": lambda asked, n, out: {"vera_lambda_d": (asked.r,), "vera_lambda_b": (out,)},
    "waveft": lambda asked, n, out: {"waveft_spectrum": (asked.n_frequency,)},
}


def token_sizes(kind: str, asked, width: int, layers: int, cached: int) -> dict:
    """Return the matrices of a type with virtual tokens: name in PEFT's encoder → shape.

    width: size of the model's embeddings. cached: size of a token's keys in one of `layers` layers. A loaded adapter
    (`inference_mode`) has only the tokens, which the trained network, if there is one, has computed.
    """
    n, hidden, trains = asked.num_virtual_tokens, getattr(asked, "encoder_hidden_size", None), not asked.inference_mode
    if kind in peft_types.CACHED:
        if not (trains and asked.prefix_projection):
            return {"embedding.weight": (n, 2 * layers * cached)}
        hidden = hidden or cached
        network = {"transform.0.weight": (hidden, cached), "transform.2.weight": (2 * layers * cached, hidden)}
        return {"embedding.weight": (n, cached)} | network
    tokens = {"embedding.weight": (n, width)}
    if kind == "p_tuning" and trains and asked.encoder_reparameterization_type == "MLP":
        hidden = hidden or width
        tokens |= {"mlp_head.0.weight": (hidden, width), "mlp_head.2.weight": (hidden, hidden)}
        tokens |= {"mlp_head.4.weight": (width, hidden)}
    return tokens
