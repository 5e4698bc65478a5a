import os
import subprocess
from pathlib import Path

import pytest

from installed_layers import installed  # noqa: F401
from others.from_github import checkout
from support import ROOT


@pytest.fixture(scope="session")
def tool(request) -> Path:
    """The Python of the tool that a test names with `@pytest.mark.parametrize("tool", [NAME], indirect=True)`."""
    python = ROOT / f".venv-{request.param}/bin/python"
    if not python.exists():
        reason = f"expected {python}: make tools-tests TOOL={request.param}"
        pytest.fail(reason) if os.environ.get("HRA_TOOLS") else pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Return the folder of a project's sources: that in `{NAME}_SOURCE`, or some folders of a commit on GitHub."""

    def find(name: str, repository: str, commit: str, *folders: str) -> Path:
        if folder := os.environ.get(f"{name}_SOURCE"):
            return Path(folder)
        found = tmp_path_factory.mktemp(name)
        try:
            checkout(found, repository, commit, *folders)
        except subprocess.CalledProcessError:
            reason = f"expected {repository} at {commit} from GitHub, or {name}_SOURCE=folder"
            pytest.fail(reason) if os.environ.get("HRA_TOOLS") else pytest.skip(reason)
        return found

    return find
