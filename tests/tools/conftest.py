import os
from pathlib import Path

import pytest
import torch

import hra
from support import ROOT


@pytest.fixture(autouse=True)
def installed():
    torch.manual_seed(0)
    hra.install()
    yield
    hra.uninstall()


@pytest.fixture(scope="session")
def tool(request) -> Path:
    """The Python of the tool that a test names with `@pytest.mark.parametrize("tool", [NAME], indirect=True)`."""
    python = ROOT / f".venv-{request.param}/bin/python"
    if not python.exists():
        reason = f"expected {python}: make tools-tests TOOL={request.param}"
        pytest.fail(reason) if os.environ.get("HRA_TOOLS") else pytest.skip(reason)
    return python
