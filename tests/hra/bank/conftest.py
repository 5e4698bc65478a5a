"""A model whose factors are computed together."""

import pytest
import torch
from blocks import model
from sidebyside import FORMS

from hra import bank


@pytest.fixture
def x():
    return torch.randn(2, 2, 5, 5, dtype=torch.float64)


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture
def ours(form):
    return model(**form)


@pytest.fixture(autouse=True)
def stacks(monkeypatch):
    """Collect the numbers of layers whose factors are computed together."""
    stacks, apply = [], bank._Stacked.apply

    def spy(apply_GS, dtype, *us):
        stacks.append(len(us))
        return apply(apply_GS, dtype, *us)

    monkeypatch.setattr(bank._Stacked, "apply", spy)
    return stacks
