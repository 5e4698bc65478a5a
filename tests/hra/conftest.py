import pytest
import torch
from sidebyside import Net

import hra


@pytest.fixture(autouse=True)
def installed():
    torch.manual_seed(0)
    hra.install()
    yield
    hra.uninstall()


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def images():
    return torch.randn(6, 3, 6, 7)
