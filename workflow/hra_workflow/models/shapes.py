"""Models with a checkpoint's shapes and dtypes but without its weights, for adapters that depend only on these."""

from collections.abc import Callable


def without_weights(build: Callable):
    """Return the torch module that `build` creates, with one NaN, expanded to its shape, for every parameter.

    It is built on the meta device, so it needs no memory. Unlike meta tensors, the parameters are on the CPU: inserted
    adapters get the same values as with real weights, and results that are computed from a parameter are NaN. Shared
    parameters remain shared.
    """
    import torch

    with torch.device("meta"):
        model = build()
    stand_ins: dict = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            nan = torch.full((), torch.nan, dtype=parameter.dtype, device="cpu").expand(parameter.shape)
            setattr(module, name, stand_ins.setdefault(parameter, torch.nn.Parameter(nan, parameter.requires_grad)))
    return model


def has_nan(tensors: dict) -> bool:
    return any(tensor.isnan().any() for tensor in tensors.values())
