"""An adapted layer and the factors that it computes."""

import pytest
import torch
from sidebyside import config_of, layer
from torch import nn

from hra import chain

FORMS = {"linear, infinite": {"apply_GS": True}}


@pytest.fixture(params=["linear", *FORMS, "conv"])
def ours(request):
    base = nn.Conv2d(4, 8, 3, padding=1) if request.param == "conv" else nn.Linear(16, 8)
    form = FORMS.get(request.param, {})
    ours = layer(base, **form)
    ours.update_layer("other", 2, config_of(r=2, init_weights=False, **form | {"apply_GS": False}))
    ours.set_adapter("default")
    return ours


@pytest.fixture
def x(ours):
    return torch.randn(2, 4, 5, 6) if isinstance(ours.get_base_layer(), nn.Conv2d) else torch.randn(5, 16)


@pytest.fixture
def computed(monkeypatch):
    """Collect the numbers of adapters whose factors a layer computes."""
    computed, product = [], chain.product

    def spy(us, kinds):
        computed.append(len(us))
        return product(us, kinds)

    monkeypatch.setattr(chain, "product", spy)
    return computed
