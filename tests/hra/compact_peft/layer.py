"""A stand-in for the layers of huggingface/peft's pull request 3185: H in compact form, PEFT's parameters and files.

It takes the place of `peft/tuners/hra/layer.py`, which is next to it as `released.py`.
"""

import torch
from torch import nn

from .released import HRAConv2d as ReleasedConv2d
from .released import HRALayer
from .released import HRALinear as ReleasedLinear

__all__ = ["HRAConv2d", "HRALayer", "HRALinear"]


class Compact:
    def rotate(self, rows, name, reverse=False):
        """Multiply rows (N, n) by H, or by Hᵀ, in the dtype of `hra_u`."""
        U, rows = self.hra_u[name], rows.to(self.hra_u[name].dtype)
        if self.hra_apply_GS[name]:
            Q = torch.linalg.qr(U).Q
            return rows - 2 * (rows @ Q) @ Q.mT
        U = U / U.norm(dim=0)
        eye = torch.eye(U.shape[1], dtype=U.dtype, device=U.device)
        T = torch.linalg.solve_triangular((U.mT @ U).triu(1) + eye / 2, eye, upper=True)
        return rows - (rows @ U) @ (T.mT if reverse else T) @ U.mT

    def get_delta_weight(self, adapter_name, reverse=False):
        eye = torch.eye(len(self.hra_u[adapter_name]), device=self.hra_u[adapter_name].device)
        return self.rotate(eye.to(self.hra_u[adapter_name].dtype), adapter_name, reverse)

    def rotating(self):
        names = [] if self.disable_adapters or self.merged else self.active_adapters
        return [name for name in names if name in self.hra_u]


class HRALinear(Compact, ReleasedLinear):
    def forward(self, x, *args, **kwargs):
        for name in reversed(self.rotating()):
            x = self.rotate(x, name, reverse=True)
        return nn.functional.linear(x.to(self.base_layer.weight.dtype), self.base_layer.weight, self.base_layer.bias)


class HRAConv2d(Compact, ReleasedConv2d):
    def forward(self, x, *args, **kwargs):
        base = self.base_layer
        weight = base.weight.flatten(1)
        for name in self.rotating():
            weight = self.rotate(weight, name)
        return nn.Conv2d._conv_forward(base, x, weight.view(base.weight.shape).to(base.weight.dtype), base.bias)
