"""The fixture that installs this package's layers for each test; conftest.py imports it."""

import pytest
import torch

import hra


@pytest.fixture(autouse=True)
def installed():
    torch.manual_seed(0)
    hra.install()
    yield
    hra.uninstall()
