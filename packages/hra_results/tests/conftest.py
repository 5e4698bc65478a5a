"""Fixtures of the package's tests."""

import pytest

from hra_results import __main__ as commands


@pytest.fixture
def compared(tmp_path, monkeypatch, capsys):
    """Provide a function that compares states in tmp_path and returns its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str, str]:
        status = commands.main(["diff", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run
