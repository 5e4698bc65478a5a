"""The source of a custom hint function: found without importing it, one digest per content."""

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.control import hint_source

SOURCE = "raise AssertionError('imported')\n\n\ndef draw(): ...\n"
FILES = ("one_hint.py", "many_hints/__init__.py", "many_hints/lines.py", "many_hints/deep/__init__.py")


@pytest.mark.parametrize(
    ("hint", "edited"),
    [("one_hint:draw", "one_hint.py"), ("many_hints.lines:draw", "many_hints/deep/__init__.py")],
)
def test_the_digest_is_that_of_the_file_or_of_the_whole_package_wherever_it_lies(tmp_path, monkeypatch, hint, edited):
    def digest(folder: str, added: str = "") -> str:
        place = tmp_path / folder
        for name in FILES:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(SOURCE + added * (name == edited))
        with monkeypatch.context() as context:
            context.syspath_prepend(place)
            return hint_source.sha256(hint)

    assert digest("here") == digest("elsewhere") != digest("edited", "# edited\n")


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        ("no_hint:draw", r"expected a module no_hint on PYTHONPATH, found none \(PYTHONPATH is /a:/b\)"),
        ("sys:exit", "expected a module sys on PYTHONPATH"),
        ("own:darw", "expected a function darw in own, found no such name"),
    ],
)
def test_a_function_that_is_not_there_is_named(tmp_path, monkeypatch, hint, message):
    (tmp_path / "own.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/a:/b")
    with pytest.raises(JobError, match=f"hint '{hint}': {message}"):
        hint_source.sha256(hint)
