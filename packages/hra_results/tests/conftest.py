"""Fixtures of the package's tests, and the helpers of the workflow's tests, which build finished results."""

import sys
from pathlib import Path

import pytest

from hra_results import __main__ as commands

sys.path.append(str(Path(__file__).parents[3] / "tests/scripts"))


@pytest.fixture
def compared(tmp_path, monkeypatch, capsys):
    """Provide a function that compares states in tmp_path and returns its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str, str]:
        status = commands.main(["diff", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run
