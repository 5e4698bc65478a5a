"""Real powers of a trained rotation: an adapter at a strength t, where t = 0 is the base model and t = 1 the adapter.

LoRA's update is scaled by a factor; a scaled I - B Vᵀ would not be orthogonal. H^t moves along the geodesic from I to H
instead: it turns the same planes, by t times their angles. The geodesic has no ends, so every finite t is allowed:
t > 1 extrapolates beyond the adapter, t = -1 is the inverse rotation.

An adapter of both sides and of magnitudes becomes W'(t) = diag(1 + δ)^t H_L^t W H_R^t. This is a path from W to W',
each of whose factors moves along a geodesic; the path of their product is none.
"""

import math
from collections.abc import Callable

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn

from . import usage
from .reflections import compact, wide

SMALLEST = 1e-6  # radians from 180°, below which the plane of a rotation is rounding noise


def power(U: torch.Tensor, t: float) -> torch.Tensor:
    """Compute unit columns U' whose chain of reflections is H^t, H being the chain of U's (section 3.1, Eq. 3).

    H differs from I only in the span of U, of which Q (n, k) is an orthonormal basis: H = I + Q (A - I) Qᵀ with the
    orthogonal A = QᵀHQ. The Cayley transform K = (I - A)(I + A)⁻¹ is skew-symmetric, with the eigenvectors of A and the
    eigenvalues -i tan(θ/2). Each pair ±θ is a plane, which two reflections turn by twice the angle between their
    vectors. With an odd number of columns, the last one is zero.

    U: (n, r), or (E, n, r) with one chain per expert. t: any finite number, dimensionless. Returns this shape, computed
    in float64, in U's dtype or in float32 if that is wider: the angle between two vectors of a plane is t times one
    that U's dtype could represent. For t = 1 it returns U's own columns.

    Raises ValueError if t is not finite, if U has another shape, or if H has the eigenvalue -1 (an odd number of
    reflections, or an angle of 180°): no unique geodesic leads from I to such an H. This does not depend on t, although
    H^0 = I and H^1 = H would exist.
    """
    _check_strength(t)
    if U.dim() not in (2, 3):
        raise ValueError(
            f"expected u of shape (n, r) or (E, n, r), found {tuple(U.shape)}: FSDP1 or ZeRO-3 has sharded it. "
            "Rewind the adapter before the model is sharded"
        )
    if U.dim() == 3:
        return torch.stack([power(one, t) for one in U])
    W = U.cpu().double()  # MPS has neither float64 nor complex eigenvalues
    V, B = compact(W)
    Q = torch.linalg.qr(W).Q
    eye = torch.eye(Q.shape[1], dtype=Q.dtype, device=Q.device)
    A = eye - (Q.mT @ B) @ (V.mT @ Q)
    # The singular values of I + A are 2 cos(θ/2), about π - θ close to 180°.
    if not A.isfinite().all() or torch.linalg.svdvals(eye + A)[-1] < SMALLEST:
        raise ValueError(
            "expected a rotation by angles below 180°, found an eigenvalue of -1 or NaN. An odd number of reflections "
            "always has an eigenvalue of -1"
        )
    if t == 1:
        return wide(U).clone()
    K = torch.linalg.solve(eye + A, eye - A)
    tangents, vectors = torch.linalg.eigh(0.5j * (K - K.mT))
    planes = Q.shape[1] // 2
    angles = 2 * tangents[-planes:].clamp(min=0).arctan()
    x = vectors[:, -planes:]
    # Two directions of one plane; where the angle is zero, x may be real or imaginary, and any direction will do.
    p, q = x.real, x.imag
    p = torch.where(p.norm(dim=0) > 0.5, p, q)
    p, q = nn.functional.normalize(p, dim=0), math.sqrt(2) * q
    half = t * angles / 2
    pairs = torch.stack([half.cos() * p - half.sin() * q, p], dim=-1)  # (k, planes, 2)
    new = torch.zeros_like(W)
    new[:, : 2 * planes] = Q @ pairs.flatten(1)
    return new.to(wide(U))


def power_of_magnitudes(delta: torch.Tensor, t: float) -> torch.Tensor:
    """Compute δ' of 1 + δ' = (1 + δ)^t for δ (out,), in float64, in δ's dtype or in float32 if that is wider.

    t: any finite number, dimensionless. For t = 1 it returns δ's own values. Raises ValueError if t is not finite and,
    for every t, if a 1 + δ is not positive or not finite.
    """
    _check_strength(t)
    exact = delta.cpu().double()
    refused = exact[~((exact > -1) & exact.isfinite())]
    if len(refused):
        raise ValueError(
            f"expected finite magnitudes 1 + δ above 0, which have real powers, found {1 + refused[0].item():g}"
        )
    return wide(delta).clone() if t == 1 else torch.expm1(t * torch.log1p(exact)).to(wide(delta))


# Name of the parameter → its real power
POWERS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "hra_u": power,
    "hra_u_out": power,
    "hra_magnitudes": power_of_magnitudes,
}


def _check_strength(t: float) -> None:
    if not math.isfinite(t):
        raise ValueError(f"expected a finite strength t, found {t}. Use a number, such as 0.5")


@torch.no_grad()
def rewind(model: nn.Module, t: float, adapter_name: str = "default") -> None:
    """Replace each layer's H (section 3.1, Eq. 3) by its real power H^t, in place.

    t: any finite number, dimensionless. 0 is the base model, 1 the adapter as it is; between them H^t turns the same
    planes by t times their angles. t > 1 extrapolates, and -1 is the inverse. H^t is orthogonal, and
    (H^s)^t = H^(s t) while s times the largest angle is below 180°. With `two_sided` and `magnitudes`, the weight
    becomes diag(1 + δ)^t H_L^t W H_R^t.

    Every `hra_u` of the adapter, (n, r) or (E, n, r) for E stacked experts, keeps its shape, and so do `hra_u_out` and
    `hra_magnitudes`. Everything that reads the adapter afterwards (forward passes, merging, `to_lora`, saving) uses
    H^t. An adapter in bfloat16 or float16 becomes float32, which a small t needs. Classifiers and other
    `modules_to_save` do not change.

    model: a model with this package's or PEFT's own HRA layers. Raises ValueError, before anything has changed, if t is
    not finite, if no layer has the adapter, if it is merged, offloaded or sharded by FSDP1 or ZeRO-3, or, for every t,
    if the H of a layer has no unique real power (an odd r, λ = ∞ or an angle of 180°) or a 1 + δ is not positive.
    """
    layers = {
        path: layer
        for path, layer in model.named_modules()
        if isinstance(layer, HRALayer) and adapter_name in layer.hra_u
    }
    usage.check_layers(layers.items())
    if not layers:
        raise ValueError(f"rewind: expected HRA layers with the adapter {adapter_name!r}, found none")
    new = []
    for path, layer in layers.items():
        if layer.merged:
            raise ValueError("rewind: expected an unmerged adapter; call `unmerge_adapter()` first")
        if layer.hra_u[adapter_name].is_meta:
            raise ValueError(f"rewind: {path}: expected weights in memory, found offloaded ones; rewind before that")
        if layer.hra_apply_GS[adapter_name]:
            raise ValueError(f"rewind: {path}: expected a rotation, found λ = ∞ (`apply_GS`), whose H is symmetric")
        for name, change in POWERS.items():
            if (parameter := getattr(layer, name, {}).get(adapter_name)) is None:
                continue
            try:
                new.append((parameter, change(parameter, t)))
            except ValueError as error:
                raise ValueError(f"rewind: {path}.{name}: {error}") from None
    for parameter, tensor in new:
        if parameter.dtype != tensor.dtype:
            parameter.data = parameter.data.to(tensor.dtype)
        parameter.copy_(tensor)
