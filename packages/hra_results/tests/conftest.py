"""Fixtures of the package's tests, and the helpers of the workflow's tests, which build finished results."""

import sys
from pathlib import Path

import pytest

from hra_workflow.commands.main import main

TESTS = Path(__file__).parents[3] / "tests"
sys.path += [str(TESTS / name) for name in ("scripts", "workflow")]


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> dict:
    """Build the tables of four runs in folders with private names, and return their plan."""
    from archived import build

    with pytest.MonkeyPatch.context() as patch:
        return build(tmp_path_factory.mktemp("built").resolve(), patch)


@pytest.fixture(scope="session")
def made(built, tmp_path_factory) -> Path:
    """Return the folder of an archive with adapters and images."""
    from archived import write

    target = tmp_path_factory.mktemp("made") / "glue"
    with pytest.MonkeyPatch.context() as patch:
        write(built, patch, to=target)
    return target


@pytest.fixture
def compared(tmp_path, monkeypatch, capsys):
    """Provide a function that compares states in tmp_path and returns its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str, str]:
        status = main(["diff", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run
