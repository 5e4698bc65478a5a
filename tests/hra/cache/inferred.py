"""Results with and without a cache."""

import copy

import torch


@torch.no_grad()
def infer(ours, x):
    return ours(x)


def uncached(ours, x):
    return infer(copy.deepcopy(ours), x)


def new(u):
    return torch.randn(u.shape, dtype=u.dtype)
