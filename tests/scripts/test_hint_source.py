"""The source of a custom hint function: found without importing it, one digest per content."""

import sys

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.control import hint_source

BROKEN = "raise AssertionError('imported')\n\n\ndef draw(): ...\n\n\nother = draw\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Provide a folder on sys.path, like one on PYTHONPATH."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one_hint.py").write_text(BROKEN)
    (tmp_path / "many_hints/deep").mkdir(parents=True)
    for name in ("__init__.py", "lines.py", "deep/__init__.py", "deep/depth.py"):
        (tmp_path / "many_hints" / name).write_text(BROKEN)
    return tmp_path


def test_a_module_is_its_file(folder, tmp_path_factory, monkeypatch):
    before = hint_source.sha256("one_hint:draw")
    assert before == hint_source.sha256("one_hint:other") and "one_hint" not in sys.modules
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "one_hint.py").rename(elsewhere / "one_hint.py")
    monkeypatch.syspath_prepend(elsewhere)
    assert hint_source.sha256("one_hint:draw") == before  # wherever it lies
    (elsewhere / "one_hint.py").write_text(BROKEN + "# edited\n")
    assert hint_source.sha256("one_hint:draw") != before


@pytest.mark.parametrize("hint", ["many_hints:draw", "many_hints.lines:draw", "many_hints.deep.depth:draw"])
def test_a_package_is_all_of_its_files(folder, hint):
    before = hint_source.sha256(hint)
    (folder / "many_hints/deep/depth.py").write_text(BROKEN + "# edited\n")
    assert hint_source.sha256(hint) != before and not {"many_hints", "many_hints.deep"} & set(sys.modules)


@pytest.mark.parametrize("hint", ["no_hint:draw", "one_hint.draw:draw", "many_hints.depth:draw", "sys:exit"])
def test_a_module_that_is_not_there_names_pythonpath(folder, monkeypatch, hint):
    monkeypatch.setenv("PYTHONPATH", "/a:/b")
    message = rf"hint '{hint}': expected a module .* on PYTHONPATH, found none \(PYTHONPATH is /a:/b\). Add the folder"
    with pytest.raises(JobError, match=message):
        hint_source.sha256(hint)


def test_a_misspelt_function_is_an_error_before_anything_is_imported(folder):
    message = r"hint 'one_hint:darw': expected a function darw in .*/one_hint\.py, found draw, other \(is it 'draw'\?\)"
    with pytest.raises(JobError, match=message):
        hint_source.sha256("one_hint:darw")
    (folder / "one_hint.py").write_text("def draw(:\n")
    with pytest.raises(JobError, match=r"one_hint\.py, line 1: invalid syntax"):
        hint_source.sha256("one_hint:draw")
    for made in ("from os import path as draw", "from os.path import *", "if True:\n    draw = print"):
        (folder / "one_hint.py").write_text(made)
        hint_source.sha256("one_hint:draw")
