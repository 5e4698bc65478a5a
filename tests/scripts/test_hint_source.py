"""The source of a custom hint function: one digest per content."""

import sys

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.control import hint_source

SOURCE = "def draw(): ...\n\n\nother = draw\n"
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
        for name in [name for name in sys.modules if name.startswith(("one_hint", "many_hints"))]:
            del sys.modules[name]
        with monkeypatch.context() as context:
            context.syspath_prepend(place)
            return hint_source.sha256(hint)

    assert digest("here") == digest("elsewhere") != digest("edited", "# edited\n")
    with pytest.raises(JobError, match=r"hint: expected to import no_hint:draw, found no module no_hint"):
        hint_source.sha256("no_hint:draw")
