"""`make size`: the project's size is within its limits, which a larger file exceeds."""

import importlib.util

import pytest

from support import ROOT


@pytest.fixture
def size(monkeypatch):
    spec = importlib.util.spec_from_file_location("size", ROOT / ".ci/size.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "loaded", lambda scripts: ["Snakefile"])  # the plan takes seconds
    return module


def test_the_size_is_within_its_limits(size, capsys):
    assert size.main() == 0
    assert "(a) a GLUE run, from the Snakefile to its cell" in capsys.readouterr().out


def test_more_lines_or_a_missing_file_are_a_failure(size, capsys, monkeypatch):
    monkeypatch.setattr(size, "lines", lambda names: 10**6)
    assert size.main() == 1
    assert "hra, workflow, rules: expected no more than the limit, found more." in capsys.readouterr().out


def test_a_part_without_files_is_a_failure(size, capsys, monkeypatch):
    monkeypatch.setattr(size, "lines", lambda names: 0)
    assert size.main() == 1
    assert "hra, workflow, rules: expected files, found none. Correct size.yaml" in capsys.readouterr().out
